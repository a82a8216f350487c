"""EventSink and EventSource against a real Valkey that is well: what is published arrives."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from taskql.adapters.redis import RedisEventSink, RedisEventSource
from taskql.adapters.redis.codec import ForeignEvent, channel, decode, encode
from taskql.adapters.redis.connections import LIMIT_SECONDS
from taskql.adapters.redis.sink import BATCH_BYTES, Batch
from taskql.adapters.redis.source import WAITING_EVENTS
from taskql.ports import Hearing
from taskql.task import TaskEvent
from tests.contract.redis_events import a_task, both, following, until_delivered, upcoming

# ---------------------------------------------------------------- the event as it travels


def test_an_event_survives_the_journey_unchanged() -> None:
    task = a_task()
    event = decode(encode(task))
    assert type(event) is TaskEvent
    assert task.at(event) == task


def test_what_never_changes_does_not_travel() -> None:
    assert b"private" not in encode(a_task())


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\xff", b"[" * 100_000, encode(a_task())[:-1]])
def test_anything_else_is_foreign(data: bytes) -> None:
    with pytest.raises(ForeignEvent):
        decode(data)


# ---------------------------------------------------------------- while Redis is well


async def test_a_watched_task_s_events_arrive_in_order(redis_url: str) -> None:
    task_id = uuid4()
    async with both(redis_url) as (sink, source):
        await source.watch(task_id)
        for version in range(1, 51):
            sink.publish(a_task(task_id, version))
        received = [await following(source) for _ in range(50)]
    assert [event.version for event in received] == list(range(1, 51))


async def test_only_watched_tasks_arrive(redis_url: str) -> None:
    watched, other = uuid4(), uuid4()
    async with both(redis_url) as (sink, source):
        await source.watch(watched)
        sink.publish(a_task(other))
        sink.publish(a_task(watched))
        event = await following(source)
        assert event.id == watched


async def test_an_unwatched_task_is_silent_and_can_be_watched_again(redis_url: str) -> None:
    task_id, witness = uuid4(), uuid4()
    async with both(redis_url) as (sink, source):
        await source.watch(witness)
        await source.watch(task_id)
        await source.unwatch(task_id)
        sink.publish(a_task(task_id, 1))
        sink.publish(a_task(witness))
        event = await following(source)
        assert event.id == witness
        await source.watch(task_id)
        sink.publish(a_task(task_id, 2))
        event = await following(source)
        assert (event.id, event.version) == (task_id, 2)


async def test_a_quick_change_of_mind_ends_watched(redis_url: str) -> None:
    task_id = uuid4()
    async with both(redis_url) as (sink, source):
        await source.watch(uuid4())  # the connection stands
        for version in range(1, 101):
            first = asyncio.create_task(source.watch(task_id))
            await asyncio.sleep(0)  # lets it start, not end
            await source.unwatch(task_id)
            await source.watch(task_id)
            sink.publish(a_task(task_id, version))
            event = await following(source)
            assert event.version == version
            await source.unwatch(task_id)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)


async def test_many_watches_at_once_all_hold(redis_url: str) -> None:
    ids = [uuid4() for _ in range(1000)]
    async with both(redis_url) as (sink, source):
        await asyncio.gather(*(source.watch(task_id) for task_id in [*ids, *ids]))
        for task_id in ids:
            sink.publish(a_task(task_id))
        received = [await following(source) for _ in ids]
    assert {event.id for event in received} == set(ids)


async def test_unwatching_what_is_not_watched_is_no_error(redis_url: str) -> None:
    async with RedisEventSource(redis_url) as source:
        await source.unwatch(uuid4())


async def test_garbage_on_a_channel_is_passed_over(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    task_id = uuid4()
    async with both(redis_url) as (sink, source), Redis.from_url(redis_url) as stranger:
        await source.watch(task_id)
        for garbage in (b"", b"{", b"\xff\x00", b'{"id": 1}'):
            await stranger.publish(channel(task_id), garbage)
        sink.publish(a_task(task_id))
        event = await following(source)
        assert event.id == task_id
    assert "not ours" in caplog.text


async def test_a_reader_that_falls_far_behind_is_told_of_a_gap(redis_url: str) -> None:
    task_id = uuid4()
    async with RedisEventSource(redis_url) as source, Redis.from_url(redis_url) as redis:
        await source.watch(task_id)
        flood = redis.pipeline(transaction=False)
        for _ in range(WAITING_EVENTS + 1):
            flood.publish(channel(task_id), encode(a_task(task_id)))
        await flood.execute()
        await source.watch(uuid4())  # confirmed after all that came before it
        assert await upcoming(source) is Hearing.BACK
        await redis.publish(channel(task_id), encode(a_task(task_id, 2)))
        event = await following(source)
        assert event.version == 2


async def test_closing_the_sink_publishes_what_is_left(redis_url: str) -> None:
    task_id = uuid4()
    async with RedisEventSource(redis_url) as source:
        await source.watch(task_id)
        async with RedisEventSink(redis_url) as sink:
            for version in range(1, 1001):
                sink.publish(a_task(task_id, version))
        received = [await following(source) for _ in range(1000)]
    assert [event.version for event in received] == list(range(1, 1001))


def test_a_batch_is_bounded_by_its_bytes_too(redis_url: str) -> None:
    sink = RedisEventSink(redis_url)
    heavy = a_task(result={"text": "x" * 65_536})
    for version in range(100):
        sink.publish(replace(heavy, version=version))
    batches = []
    while sink._buffer:
        batch = Batch(snapshots=False)
        batches.append((len(list(sink._fill(batch))), batch.bytes))
    assert sum(count for count, _ in batches) == 100
    assert len(batches) > 5
    assert max(size for _, size in batches) < BATCH_BYTES + 70_000


async def test_a_connection_that_was_cut_between_two_batches_loses_none(redis_url: str) -> None:
    task_id = uuid4()
    async with both(redis_url) as (sink, source), Redis.from_url(redis_url) as redis:
        await source.watch(task_id)
        for version in (1, 2, 3):
            sink.publish(a_task(task_id, version))
            assert (await following(source)).version == version
            await redis.client_kill_filter(_type="normal", skipme=True)


async def test_what_is_flushed_is_on_its_way(redis_url: str) -> None:
    task_id = uuid4()
    async with both(redis_url) as (sink, source), Redis.from_url(redis_url) as later:
        await source.watch(task_id)
        for version in range(1, 1001):
            sink.publish(a_task(task_id, version))
        await sink.flush()
        await later.publish(channel(task_id), encode(a_task(task_id, 1001)))
        received = [await following(source) for _ in range(1001)]
    assert [event.version for event in received] == list(range(1, 1002))


async def test_flushing_nothing_returns_at_once(redis_url: str) -> None:
    async with RedisEventSink(redis_url) as sink:
        async with asyncio.timeout(LIMIT_SECONDS / 2):
            await sink.flush()
        sink.publish(a_task())
        await sink.flush()
        async with asyncio.timeout(LIMIT_SECONDS / 2):
            await sink.flush()


async def test_an_event_that_cannot_be_encoded_does_not_stop_the_sink(redis_url: str) -> None:
    task_id = uuid4()
    async with both(redis_url) as (sink, source):
        await source.watch(task_id)
        sink.publish(replace(a_task(task_id), result=object()))
        await until_delivered(sink, source, a_task(task_id, 2))
