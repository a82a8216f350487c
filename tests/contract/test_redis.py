"""EventSink and EventSource against a real Valkey: what is published arrives, and every gap is told."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from taskql.adapters.redis import RedisEventSink, RedisEventSource
from taskql.adapters.redis import source as source_module
from taskql.adapters.redis.codec import ForeignEvent, channel, decode, encode
from taskql.adapters.redis.connections import LIMIT_SECONDS
from taskql.adapters.redis.sink import BATCH_EVENTS, BUFFERED_EVENTS
from taskql.adapters.redis.source import WAITING_EVENTS
from taskql.devstack import DevStack
from taskql.errors import Unavailable
from taskql.lifecycle import AttemptOutcome, TaskStatus
from taskql.queues import TaskPriority
from taskql.task import Attempt, Failure, Progress, Task, TaskEvent

DEADLINE_SECONDS = 60
NOW = datetime(2026, 11, 1, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def url(stack: DevStack) -> str:
    return stack.env["REDIS_URL"]


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """A stack whose Valkey these tests may kill and freeze."""
    with DevStack(data=tmp_path_factory.mktemp("fragile"), say=lambda _: None) as stack:
        yield stack


@pytest.fixture
def broken_url(fragile: DevStack) -> Iterator[str]:
    """The address of that Valkey, which is up before and after the test."""
    yield fragile.env["REDIS_URL"]
    fragile.valkey.resume()
    fragile.valkey.start()


def a_task(task_id: UUID | None = None, version: int = 1) -> Task:
    failure = Failure("RETRYABLE", "später 🚀", retryable=True)
    return Task(
        id=task_id or uuid4(),
        status=TaskStatus.PROCESSING,
        version=version,
        attempt=2,
        max_attempts=3,
        attempts=(Attempt(1, NOW, NOW, AttemptOutcome.RETRIED, failure), Attempt(2, NOW)),
        progress=Progress(0.25, "a quarter"),
        result={"list": [1, 2.5, None, "x"]},
        failure=failure,
        expires_at=NOW,
        updated_at=NOW,
        started_at=NOW,
        finished_at=None,
        owner="mallory",
        kind="process",
        title="a private title",
        description=None,
        input={"secret": "private too"},
        priority=TaskPriority.HIGH,
        ordering_key="a private key",
        tags=("a private tag",),
        run_at=NOW,
        created_at=NOW,
    )


@asynccontextmanager
async def both(url: str) -> AsyncIterator[tuple[RedisEventSink, RedisEventSource]]:
    async with RedisEventSink(url) as sink, RedisEventSource(url) as source:
        yield sink, source


async def following(source: RedisEventSource) -> TaskEvent | None:
    """The next of the source's events."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await anext(aiter(source.events()))


async def until_gap(source: RedisEventSource) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await following(source) is not None:
            pass


async def until_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while text not in caplog.text:
            await asyncio.sleep(0.02)


async def until_delivered(sink: RedisEventSink, source: RedisEventSource, wanted: TaskEvent) -> None:
    """Publish again and again until it arrives: what is published during an outage may get lost."""

    async def insist() -> None:
        while True:
            sink.publish(wanted)
            await asyncio.sleep(0.05)

    insisting = asyncio.create_task(insist())
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (event := await following(source)) is None or event.version != wanted.version:
                pass
    finally:
        insisting.cancel()


# ---------------------------------------------------------------- the event as it travels


def test_an_event_survives_the_journey_unchanged() -> None:
    task = a_task()
    event = decode(encode(task))
    assert type(event) is TaskEvent
    assert task.at(event) == task


def test_what_never_changes_does_not_travel() -> None:
    assert b"private" not in encode(a_task())
    assert b"mallory" not in encode(a_task())


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\xff", b"[" * 100_000, encode(a_task())[:-1]])
def test_anything_else_is_foreign(data: bytes) -> None:
    with pytest.raises(ForeignEvent):
        decode(data)


# ---------------------------------------------------------------- while Redis is well


async def test_a_watched_task_s_events_arrive_in_order(url: str) -> None:
    task_id = uuid4()
    async with both(url) as (sink, source):
        await source.watch(task_id)
        for version in range(1, 51):
            sink.publish(a_task(task_id, version))
        received = [await following(source) for _ in range(50)]
    assert [event and event.version for event in received] == list(range(1, 51))


async def test_only_watched_tasks_arrive(url: str) -> None:
    watched, other = uuid4(), uuid4()
    async with both(url) as (sink, source):
        await source.watch(watched)
        sink.publish(a_task(other))
        sink.publish(a_task(watched))
        assert (event := await following(source)) is not None
        assert event.id == watched


async def test_an_unwatched_task_is_silent_and_can_be_watched_again(url: str) -> None:
    task_id, witness = uuid4(), uuid4()
    async with both(url) as (sink, source):
        await source.watch(witness)
        await source.watch(task_id)
        await source.unwatch(task_id)
        sink.publish(a_task(task_id, 1))
        sink.publish(a_task(witness))
        assert (event := await following(source)) is not None
        assert event.id == witness
        await source.watch(task_id)
        sink.publish(a_task(task_id, 2))
        assert (event := await following(source)) is not None
        assert (event.id, event.version) == (task_id, 2)


async def test_a_quick_change_of_mind_ends_watched(url: str) -> None:
    task_id = uuid4()
    async with both(url) as (sink, source):
        await source.watch(uuid4())  # the connection stands
        for version in range(1, 101):
            first = asyncio.create_task(source.watch(task_id))
            await asyncio.sleep(0)  # lets it start, not end
            await source.unwatch(task_id)
            await source.watch(task_id)
            sink.publish(a_task(task_id, version))
            assert (event := await following(source)) is not None
            assert event.version == version
            await source.unwatch(task_id)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)


async def test_many_watches_at_once_all_hold(url: str) -> None:
    ids = [uuid4() for _ in range(1000)]
    async with both(url) as (sink, source):
        await asyncio.gather(*(source.watch(task_id) for task_id in [*ids, *ids]))
        for task_id in ids:
            sink.publish(a_task(task_id))
        received = [await following(source) for _ in ids]
    assert {event.id for event in received if event} == set(ids)


async def test_unwatching_what_is_not_watched_is_no_error(url: str) -> None:
    async with RedisEventSource(url) as source:
        await source.unwatch(uuid4())


async def test_garbage_on_a_channel_is_passed_over(url: str, caplog: pytest.LogCaptureFixture) -> None:
    task_id = uuid4()
    async with both(url) as (sink, source), Redis.from_url(url) as stranger:
        await source.watch(task_id)
        for garbage in (b"", b"{", b"\xff\x00", b'{"id": 1}'):
            await stranger.publish(channel(task_id), garbage)
        sink.publish(a_task(task_id))
        assert (event := await following(source)) is not None
        assert event.id == task_id
    assert "not ours" in caplog.text


async def test_a_reader_that_falls_far_behind_is_told_of_a_gap(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "LIMIT_SECONDS", DEADLINE_SECONDS)
    task_id = uuid4()
    async with RedisEventSource(url) as source, Redis.from_url(url) as redis:
        await source.watch(task_id)
        flood = redis.pipeline(transaction=False)
        for _ in range(WAITING_EVENTS + 1):
            flood.publish(channel(task_id), encode(a_task(task_id)))
        await flood.execute()
        await source.watch(uuid4())  # confirmed after all that came before it
        assert await following(source) is None
        await redis.publish(channel(task_id), encode(a_task(task_id, 2)))
        assert (event := await following(source)) is not None
        assert event.version == 2


async def test_closing_the_sink_publishes_what_is_left(url: str) -> None:
    task_id = uuid4()
    async with RedisEventSource(url) as source:
        await source.watch(task_id)
        async with RedisEventSink(url) as sink:
            for version in range(1, 1001):
                sink.publish(a_task(task_id, version))
        received = [await following(source) for _ in range(1000)]
    assert [event and event.version for event in received] == list(range(1, 1001))


async def test_what_is_flushed_is_on_its_way(url: str) -> None:
    task_id = uuid4()
    async with both(url) as (sink, source), Redis.from_url(url) as later:
        await source.watch(task_id)
        for version in range(1, 1001):
            sink.publish(a_task(task_id, version))
        await sink.flush()
        await later.publish(channel(task_id), encode(a_task(task_id, 1001)))
        received = [await following(source) for _ in range(1001)]
    assert [event and event.version for event in received] == list(range(1, 1002))


async def test_flushing_nothing_returns_at_once(url: str) -> None:
    async with RedisEventSink(url) as sink:
        async with asyncio.timeout(LIMIT_SECONDS / 2):
            await sink.flush()
        sink.publish(a_task())
        await sink.flush()
        async with asyncio.timeout(LIMIT_SECONDS / 2):
            await sink.flush()


async def test_an_event_that_cannot_be_encoded_does_not_stop_the_sink(url: str) -> None:
    task_id = uuid4()
    async with both(url) as (sink, source):
        await source.watch(task_id)
        sink.publish(replace(a_task(task_id), result=object()))
        await until_delivered(sink, source, a_task(task_id, 2))


# ---------------------------------------------------------------- while it is not


async def test_a_killed_server_is_a_gap_and_then_events_come_again(
    fragile: DevStack, broken_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = uuid4()
    async with both(broken_url) as (sink, source):
        await source.watch(task_id)
        fragile.valkey.kill()
        await until_logged(caplog, "live updates are delayed")
        sink.publish(a_task(task_id, 1))  # nobody will see this one
        fragile.valkey.start()
        await until_gap(source)
        await until_delivered(sink, source, a_task(task_id, 2))


async def test_a_connection_that_is_cut_is_a_gap(broken_url: str) -> None:
    task_id = uuid4()
    async with both(broken_url) as (sink, source), Redis.from_url(broken_url) as redis:
        await source.watch(task_id)
        await redis.client_kill_filter(_type="pubsub")
        await until_gap(source)
        sink.publish(a_task(task_id))
        assert (event := await following(source)) is not None
        assert event.id == task_id


async def test_a_frozen_server_is_noticed_and_is_a_gap(
    fragile: DevStack, broken_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = uuid4()
    async with both(broken_url) as (sink, source):
        await source.watch(task_id)
        fragile.valkey.pause()
        await until_logged(caplog, "live updates are delayed")
        fragile.valkey.resume()
        await until_gap(source)
        await until_delivered(sink, source, a_task(task_id))


async def test_watching_while_redis_is_away_raises_and_takes_effect_later(
    fragile: DevStack, broken_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = uuid4()
    async with both(broken_url) as (sink, source):
        await source.watch(uuid4())
        fragile.valkey.kill()
        await until_logged(caplog, "live updates are delayed")
        with pytest.raises(Unavailable):
            await source.watch(task_id)
        fragile.valkey.start()
        await until_gap(source)
        sink.publish(a_task(task_id))
        assert (event := await following(source)) is not None
        assert event.id == task_id


async def test_a_watch_that_is_confirmed_too_late_is_a_gap(fragile: DevStack, broken_url: str) -> None:
    task_id = uuid4()
    async with RedisEventSource(broken_url) as source, Redis.from_url(broken_url) as redis:
        await source.watch(uuid4())
        fragile.valkey.pause()
        with pytest.raises(Unavailable):
            await source.watch(task_id)
        fragile.valkey.resume()  # before the canary is missed: the connection lives on
        await until_gap(source)
        await redis.publish(channel(task_id), encode(a_task(task_id)))
        assert (event := await following(source)) is not None
        assert event.id == task_id


async def test_the_source_starts_before_redis_does(fragile: DevStack, broken_url: str) -> None:
    task_id = uuid4()
    fragile.valkey.kill()
    async with both(broken_url) as (sink, source):
        with pytest.raises(Unavailable):
            await source.watch(task_id)
        fragile.valkey.start()
        await until_gap(source)
        await until_delivered(sink, source, a_task(task_id))


async def test_publishing_to_a_frozen_server_neither_waits_nor_piles_up(
    fragile: DevStack, broken_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = uuid4()
    async with both(broken_url) as (sink, source):
        await source.watch(task_id)
        sink.publish(a_task(task_id, 1))
        assert await following(source) is not None  # the sink is connected
        fragile.valkey.pause()
        for version in range(2, 2 * BUFFERED_EVENTS):
            sink.publish(a_task(task_id, version))
        await until_logged(caplog, "events get lost")
        fragile.valkey.resume()
        await until_delivered(sink, source, a_task(task_id, 2 * BUFFERED_EVENTS))


async def test_flushing_to_a_frozen_server_ends_within_its_limit(fragile: DevStack, broken_url: str) -> None:
    loop = asyncio.get_running_loop()
    async with RedisEventSink(broken_url) as sink:
        fragile.valkey.pause()
        for _ in range(3 * BATCH_EVENTS):
            sink.publish(a_task())
        began = loop.time()
        await sink.flush()
        assert loop.time() - began < 2 * LIMIT_SECONDS


async def test_closing_while_the_server_is_frozen_ends(fragile: DevStack, broken_url: str) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with both(broken_url) as (sink, source):
            await source.watch(uuid4())
            fragile.valkey.pause()
            sink.publish(a_task())


async def test_an_outage_is_logged_once_and_so_is_its_end(
    fragile: DevStack, broken_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    task_id = uuid4()
    async with both(broken_url) as (sink, source):
        await source.watch(task_id)
        fragile.valkey.kill()
        for version in range(50):
            sink.publish(a_task(task_id, version))
            await asyncio.sleep(0)
        await until_logged(caplog, "events get lost")
        with pytest.raises(Unavailable):
            await source.watch(uuid4())
        fragile.valkey.start()
        await until_delivered(sink, source, a_task(task_id, 100))
        await until_logged(caplog, "published again")
    for once in ("events get lost", "published again", "live updates are delayed", "updates are live again"):
        assert caplog.text.count(once) == 1
