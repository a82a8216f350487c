"""The worker on scripted ports: slots, drain, heartbeat, progress, and what is recorded."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from consumer import progress as progress_module
from consumer import recorder as recorder_module
from consumer import worker as worker_module
from consumer.executor import REST, Executor
from consumer.heartbeat import Heartbeat
from consumer.progress import ProgressReporter
from consumer.recorder import Recorder
from consumer.watermark import Watermark
from consumer.worker import Worker
from taskql import TaskContext, handler
from taskql.errors import LeaseLost, Unavailable
from taskql.handler import declared
from taskql.lifecycle import TaskStatus
from taskql.message import encode
from taskql.outcome import Abandoned, Failed, Outcome, Released, Retry, Succeeded
from taskql.ports import (
    Claim,
    Claimed,
    Finished,
    LeasedElsewhere,
    Message,
    NoHandler,
    NotDue,
    Unknown,
)
from taskql.registry import Registry
from taskql.task import JSON, Failure, Lease, Progress, Task, TaskEvent

NOW = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
AT_ONCE = timedelta(milliseconds=1)
NOTHING = timedelta(0)
LONGEST_WAIT_SECONDS = 60
AWAY = Unavailable("away")


class Out(BaseModel):
    x: int


def a_task(task_id: UUID, kind: str = "test") -> Task:
    return Task(
        id=task_id, status=TaskStatus.PROCESSING, version=2, attempt=1, max_attempts=3, attempts=(),
        progress=None, result=None, failure=None, updated_at=NOW, started_at=NOW, finished_at=None,
        owner="ada", kind=kind, title="a title", description=None, input={}, created_at=NOW,
    )  # fmt: skip


def a_message(task_id: UUID | None = None, body: str | None = None) -> Message:
    return Message(body or encode(task_id or uuid4()), "receipt", "normal", NOW, 1)


def messages(count: int) -> list[Message]:
    return [a_message() for _ in range(count)]


class Outside:
    """PostgreSQL, SQS and Redis as the worker sees them. `log` holds what happened, in order."""

    queue = "normal"

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.log: list[tuple[Any, ...]] = []
        self.lost: set[Lease] = set()
        self.waiting: deque[Message] = deque()
        self.limits: list[int] = []
        self.polls_open = 0
        self.long_poll_ends = asyncio.Event()
        self.claim_is: Callable[[UUID], Claim | Exception] = lambda task_id: Claimed(
            Lease(task_id, 1), a_task(task_id)
        )
        self.raising: dict[str, deque[Exception]] = {}

    def note(self, *entry: Any) -> None:
        """Write down what happens, or raise what the test scripted for it."""
        scripted = self.raising.get(entry[0])
        self.log.append(entry)
        self.changed.set()
        if scripted:
            raise scripted.popleft()

    def fails(self, name: str, *errors: Exception) -> None:
        self.raising[name] = deque(errors)

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        return [entry for entry in self.log if entry[0] in names]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    def bring(self, *arrived: Message) -> None:
        """Messages arrive; the open poll brings them."""
        self.waiting.extend(arrived)
        self.long_poll_ends.set()

    # the receiver

    async def receive(self, limit: int, wait: timedelta) -> list[Message]:
        self.limits.append(limit)
        self.note("receive")
        self.polls_open += 1
        try:
            if not self.waiting:
                self.long_poll_ends.clear()
                self.changed.set()
                await self.long_poll_ends.wait()
            return [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]
        finally:
            self.polls_open -= 1

    async def acknowledge(self, message: Message) -> None:
        self.note("acknowledge", message)

    async def hide(self, message: Message, duration: timedelta) -> None:
        self.note("hide", message, duration)

    async def ping(self) -> None: ...

    # the lease store

    async def claim(self, task_id: UUID, kinds: Collection[str], lease_for: timedelta) -> Claim:
        self.note("claim", task_id)
        found = self.claim_is(task_id)
        if isinstance(found, Exception):
            raise found
        return found

    async def extend(self, lease: Lease, lease_for: timedelta) -> None:
        self.note("extend", lease)

    async def held(self, leases: Collection[Lease]) -> set[Lease]:
        return set(leases) - self.lost

    async def progress(self, lease: Lease, progress: Progress) -> TaskEvent:
        self.note("progress", progress)
        return a_task(lease.task_id)

    async def complete(self, lease: Lease, result: JSON) -> TaskEvent:
        self.note("complete", lease, result)
        return a_task(lease.task_id)

    async def retry(self, lease: Lease, failure: Failure, delay: timedelta) -> TaskEvent:
        self.note("retry", lease, failure)
        return a_task(lease.task_id)

    async def fail(self, lease: Lease, failure: Failure) -> TaskEvent:
        self.note("fail", lease, failure)
        return a_task(lease.task_id)

    async def release(self, lease: Lease) -> TaskEvent:
        self.note("release", lease)
        return a_task(lease.task_id)

    async def redrive(
        self, task_id: UUID, failed_attempt: int, max_attempts: Mapping[str, int]
    ) -> TaskEvent | None:
        self.note("redrive", task_id, failed_attempt)
        return a_task(task_id)

    async def bury(self, queue: str, body: str, reason: str) -> None:
        self.note("bury", body, reason)

    # the events

    def publish(self, event: TaskEvent) -> None:
        self.log.append(("publish", event.id))
        self.changed.set()


class Handlers:
    """The handler under test: runs until its gate is opened."""

    def __init__(self, outside: Outside) -> None:
        self.gate = asyncio.Event()
        self.thread_gate = threading.Event()
        self.running = self.most_running = 0
        self.started = 0

        @handler("test", timeout=HOUR)
        async def in_loop(task: TaskContext) -> Out:
            self.started += 1
            self.running += 1
            self.most_running = max(self.running, self.most_running)
            outside.changed.set()
            try:
                await self.gate.wait()
            finally:
                self.running -= 1
                outside.changed.set()
            return Out(x=1)

        @handler("slowThread", timeout=AT_ONCE)
        def in_thread(task: TaskContext) -> Out:
            self.thread_gate.wait(LONGEST_WAIT_SECONDS)
            return Out(x=1)

        found = [declared(in_loop), declared(in_thread)]
        self.registry = Registry(each for each in found if each)


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def handlers(outside: Outside) -> Handlers:
    return Handlers(outside)


def an_executor(outside: Outside, handlers: Handlers, beat_every: timedelta = HOUR) -> Executor:
    return Executor(outside, outside, outside, handlers.registry, lease_for=HOUR, beat_every=beat_every)


class Running:
    """A worker at work."""

    def __init__(self, outside: Outside, executor: Executor, concurrency: int, grace: timedelta) -> None:
        async def raise_watermark(queue: str, sent_at: datetime) -> None:
            outside.note("watermark", queue, sent_at)

        self.stopping, self.hurry = asyncio.Event(), asyncio.Event()
        self.outside = outside
        worker = Worker(
            outside,
            executor,
            Watermark(outside.queue, raise_watermark),
            concurrency=concurrency,
            poll=HOUR,
            grace=grace,
        )
        self.loop = asyncio.create_task(worker.run(self.stopping, self.hurry))
        self.loop.add_done_callback(lambda _: outside.changed.set())

    def stop(self) -> None:
        self.stopping.set()

    async def end(self) -> None:
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            await self.loop


@asynccontextmanager
async def at_work(
    outside: Outside, handlers: Handlers, *, concurrency: int = 3, grace: timedelta = HOUR
) -> AsyncIterator[Running]:
    running = Running(outside, an_executor(outside, handlers), concurrency, grace)
    try:
        yield running
    finally:
        handlers.gate.set()
        handlers.thread_gate.set()
        running.stop()
        running.hurry.set()
        outside.long_poll_ends.set()
        await running.end()


# ---------------------------------------------------------------- slots


@pytest.mark.parametrize("concurrency", [1, 3, 15])
async def test_no_more_tasks_run_at_a_time_than_allowed(
    outside: Outside, handlers: Handlers, concurrency: int
) -> None:
    outside.waiting.extend(messages(40))
    async with at_work(outside, handlers, concurrency=concurrency):
        await outside.until(lambda: handlers.running == concurrency)
        assert len(outside.waiting) == 40 - concurrency, "what there is no slot for stays in the queue"
        handlers.gate.set()
        await outside.until(lambda: len(outside.named("acknowledge")) == 40)
    assert handlers.most_running == concurrency


async def test_no_more_messages_are_asked_for_than_there_are_free_slots(
    outside: Outside, handlers: Handlers
) -> None:
    async with at_work(outside, handlers, concurrency=5):
        for number in range(5):
            await outside.until(lambda: outside.polls_open == 1)
            outside.bring(a_message())
            await outside.until(lambda number=number: handlers.running == number + 1)  # type: ignore[misc]
        assert outside.limits == [5, 4, 3, 2, 1]
        assert outside.polls_open == 0, "without a free slot nothing is asked for"
        handlers.gate.set()
        await outside.until(lambda: outside.polls_open == 1)
    assert set(outside.limits[5:]) <= {1, 2, 3, 4, 5}


async def test_no_more_than_ten_messages_are_asked_for(outside: Outside, handlers: Handlers) -> None:
    async with at_work(outside, handlers, concurrency=50):
        await outside.until(lambda: outside.polls_open == 1)
    assert outside.limits[0] == 10


async def test_a_message_that_cannot_be_dealt_with_frees_its_slot(
    outside: Outside, handlers: Handlers
) -> None:
    outside.claim_is = lambda _: ValueError("a defect of ours")
    outside.waiting.extend(messages(7))
    async with at_work(outside, handlers, concurrency=2):
        await outside.until(lambda: len(outside.named("claim")) == 7 and outside.polls_open == 1)
    assert outside.named("acknowledge") == [], "it comes again"


async def test_a_thread_that_outlived_its_time_limit_keeps_its_slot(
    outside: Outside, handlers: Handlers
) -> None:
    outside.claim_is = lambda task_id: Claimed(Lease(task_id, 1), a_task(task_id, "slowThread"))
    outside.waiting.extend(messages(2))
    async with at_work(outside, handlers, concurrency=1):
        await outside.until(lambda: len(outside.named("acknowledge")) == 1)
        assert len(outside.named("retry")) == 1, "the outcome is recorded at once"
        for _ in range(50):  # turns of the loop: enough for the next poll, if the slot were free
            await asyncio.sleep(0)
        assert outside.limits == [1]
        handlers.thread_gate.set()
        await outside.until(lambda: len(outside.named("acknowledge")) == 2)


async def test_a_queue_that_is_away_is_asked_again(
    outside: Outside, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskql.upkeep.pace.FIRST_PAUSE", NOTHING)
    outside.fails("receive", AWAY, AWAY, AWAY)
    outside.waiting.extend(messages(1))
    handlers.gate.set()
    async with at_work(outside, handlers):
        await outside.until(lambda: len(outside.named("acknowledge")) == 1)
    assert len(outside.named("receive")) >= 4


async def test_what_was_received_raises_the_watermark(outside: Outside, handlers: Handlers) -> None:
    handlers.gate.set()
    seen = [NOW + timedelta(seconds=each) for each in (5, 9, 7)]
    outside.waiting.extend(Message(encode(uuid4()), "receipt", "normal", sent_at, 1) for sent_at in seen)
    async with at_work(outside, handlers):
        await outside.until(lambda: ("watermark", "normal", max(seen)) in outside.log)


async def test_an_empty_poll_raises_the_watermark_to_its_beginning() -> None:
    raised: list[datetime] = []

    async def raise_watermark(queue: str, sent_at: datetime) -> None:
        raised.append(sent_at)

    watermark = Watermark("normal", raise_watermark)
    watermark.note([a_message()], NOW + HOUR)
    watermark.note([], NOW + timedelta(minutes=1))
    watermark.note([a_message()], NOW + HOUR)
    await watermark._write()
    await watermark._write()
    assert raised == [NOW + timedelta(minutes=1)], "it never falls, and is written when it rose"


# ---------------------------------------------------------------- stopping


async def test_an_idle_worker_ends_when_its_open_poll_does(outside: Outside, handlers: Handlers) -> None:
    async with at_work(outside, handlers) as running:
        await outside.until(lambda: outside.polls_open == 1)
        running.stop()
        await asyncio.sleep(0)
        assert not running.loop.done(), "an open poll is never cut off"
        outside.long_poll_ends.set()
        await running.end()
    assert len(outside.named("receive")) == 1


async def test_messages_that_arrive_while_stopping_are_given_back(
    outside: Outside, handlers: Handlers
) -> None:
    arriving = messages(2)
    async with at_work(outside, handlers) as running:
        await outside.until(lambda: outside.polls_open == 1)
        running.stop()
        outside.bring(*arriving)
        await running.end()
    assert outside.named("hide") == [("hide", message, NOTHING) for message in arriving]
    assert outside.named("claim", "acknowledge") == []


async def test_messages_that_cannot_be_given_back_hold_up_nothing(
    outside: Outside, handlers: Handlers
) -> None:
    outside.fails("hide", AWAY)
    async with at_work(outside, handlers) as running:
        await outside.until(lambda: outside.polls_open == 1)
        running.stop()
        outside.bring(*messages(2))
        await running.end()
    assert len(outside.named("hide")) == 2


async def test_a_stopping_worker_waits_for_what_runs(outside: Outside, handlers: Handlers) -> None:
    outside.waiting.extend(messages(3))
    async with at_work(outside, handlers) as running:
        await outside.until(lambda: handlers.running == 3)
        running.stop()
        await asyncio.sleep(0)
        assert not running.loop.done()
        handlers.gate.set()
        await running.end()
    assert len(outside.named("complete")) == 3
    assert outside.named("release") == []


async def test_what_still_runs_when_the_grace_is_over_is_released(
    outside: Outside, handlers: Handlers
) -> None:
    outside.waiting.extend(messages(3))
    async with at_work(outside, handlers, grace=AT_ONCE) as running:
        await outside.until(lambda: handlers.running == 3)
        running.stop()
        await running.end()
    assert len(outside.named("release")) == 3
    assert len(outside.named("acknowledge")) == 3
    assert outside.named("complete") == []
    assert handlers.running == 0


async def test_hurry_cuts_the_grace_short(outside: Outside, handlers: Handlers) -> None:
    outside.waiting.extend(messages(3))
    async with at_work(outside, handlers, grace=HOUR) as running:
        await outside.until(lambda: handlers.running == 3)
        running.stop()
        running.hurry.set()
        await running.end()
    assert len(outside.named("release")) == 3


async def test_one_message_that_fails_does_not_cut_the_grace_of_the_others_short(
    outside: Outside, handlers: Handlers
) -> None:
    broken, claims_go_on = uuid4(), asyncio.Event()
    claim = outside.claim

    async def slow_claim(task_id: UUID, kinds: Collection[str], lease_for: timedelta) -> Claim:
        if task_id == broken:
            await claims_go_on.wait()
            raise ValueError("a defect of ours")
        return await claim(task_id, kinds, lease_for)

    outside.claim = slow_claim  # type: ignore[method-assign]
    outside.waiting.extend([a_message(broken), *messages(2)])
    async with at_work(outside, handlers) as running:
        await outside.until(lambda: handlers.running == 2)
        running.stop()
        await asyncio.sleep(0)
        claims_go_on.set()
        for _ in range(20):  # turns of the loop: enough for the drain to notice, if it would
            await asyncio.sleep(0)
        assert handlers.running == 2
        handlers.gate.set()
        await running.end()
    assert len(outside.named("complete")) == 2
    assert outside.named("release") == []


async def test_a_thread_that_never_ends_does_not_hold_up_the_workers_end(
    outside: Outside, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "RELEASE", AT_ONCE)
    outside.claim_is = lambda task_id: Claimed(Lease(task_id, 1), a_task(task_id, "slowThread"))
    outside.waiting.extend(messages(1))
    async with at_work(outside, handlers, concurrency=1, grace=AT_ONCE) as running:
        await outside.until(lambda: len(outside.named("acknowledge")) == 1)
        running.stop()
        await running.end()
        assert not handlers.thread_gate.is_set()


async def test_a_claim_that_succeeds_during_the_drain_is_released_at_once(
    outside: Outside, handlers: Handlers
) -> None:
    executor = an_executor(outside, handlers)
    executor.stop_attempts()
    message = a_message()
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await executor.execute(message)
    assert [entry[0] for entry in outside.log] == ["claim", "publish", "release", "publish", "acknowledge"]


# ---------------------------------------------------------------- one message


async def execute(outside: Outside, handlers: Handlers, message: Message | None = None) -> Message:
    message = message or a_message()
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await an_executor(outside, handlers).execute(message)
    return message


async def test_a_message_is_claimed_run_recorded_published_and_then_acknowledged(
    outside: Outside, handlers: Handlers
) -> None:
    handlers.gate.set()
    await execute(outside, handlers)
    assert [entry[0] for entry in outside.log] == ["claim", "publish", "complete", "publish", "acknowledge"]
    [(_, _, result)] = outside.named("complete")
    assert result == {"x": 1}


@pytest.mark.parametrize("miss", [Finished(), NotDue(), NoHandler("other")])
async def test_a_message_with_nothing_to_do_is_acknowledged(
    outside: Outside, handlers: Handlers, miss: Claim
) -> None:
    outside.claim_is = lambda _: miss
    message = await execute(outside, handlers)
    assert outside.named("acknowledge", "hide", "publish", "bury") == [("acknowledge", message)]


@pytest.mark.parametrize(
    ("remaining", "hidden"),
    [(timedelta(minutes=3), timedelta(minutes=3)), (NOTHING, REST), (AT_ONCE, REST)],
)
async def test_a_message_whose_task_is_leased_elsewhere_is_left_until_that_lease_ends(
    outside: Outside, handlers: Handlers, remaining: timedelta, hidden: timedelta
) -> None:
    outside.claim_is = lambda _: LeasedElsewhere(remaining)
    message = await execute(outside, handlers)
    assert outside.named("acknowledge", "hide", "publish", "bury") == [("hide", message, hidden)]


async def test_a_message_to_an_unknown_task_is_buried_and_acknowledged(
    outside: Outside, handlers: Handlers
) -> None:
    outside.claim_is = lambda _: Unknown()
    message = await execute(outside, handlers)
    [bury, acknowledge] = outside.named("bury", "acknowledge", "hide")
    assert bury[:2] == ("bury", message.body)
    assert bury[2].startswith("UNKNOWN_TASK")
    assert acknowledge == ("acknowledge", message)


async def test_a_foreign_message_is_buried_without_a_claim(outside: Outside, handlers: Handlers) -> None:
    message = await execute(outside, handlers, a_message(body="hello"))
    assert [entry[0] for entry in outside.log] == ["bury", "acknowledge"]
    assert outside.log[0][1] == message.body
    assert outside.log[0][2].startswith("FOREIGN_MESSAGE")


async def test_a_foreign_message_that_cannot_be_buried_is_not_acknowledged(
    outside: Outside, handlers: Handlers
) -> None:
    outside.fails("bury", AWAY)
    message = await execute(outside, handlers, a_message(body="hello"))
    assert outside.named("acknowledge", "hide") == [("hide", message, REST)]


async def test_an_outage_at_the_claim_hides_the_message_for_a_while(
    outside: Outside, handlers: Handlers
) -> None:
    outside.claim_is = lambda _: AWAY
    message = await execute(outside, handlers)
    assert outside.named("acknowledge", "hide") == [("hide", message, REST)]


@pytest.mark.parametrize("name", ["acknowledge", "hide"])
async def test_a_queue_that_is_away_harms_nothing(outside: Outside, handlers: Handlers, name: str) -> None:
    handlers.gate.set()
    outside.fails(name, AWAY)
    if name == "hide":
        outside.claim_is = lambda _: AWAY
    await execute(outside, handlers)
    assert len(outside.named(name)) == 1


async def test_a_lost_lease_is_swallowed_and_the_message_acknowledged(
    outside: Outside, handlers: Handlers
) -> None:
    handlers.gate.set()
    outside.fails("complete", LeaseLost("rescued"))
    message = await execute(outside, handlers)
    assert outside.named("acknowledge") == [("acknowledge", message)]
    assert len(outside.named("publish")) == 1, "of the claim; the outcome was thrown away"


async def test_an_outcome_that_can_never_be_recorded_leaves_the_message(
    outside: Outside, handlers: Handlers
) -> None:
    handlers.gate.set()
    outside.fails("complete", *[AWAY] * 3)
    executor = Executor(outside, outside, outside, handlers.registry, lease_for=NOTHING, beat_every=HOUR)
    message = a_message()
    await executor.execute(message)
    assert outside.named("acknowledge", "hide") == [("hide", message, REST)]


# ---------------------------------------------------------------- heartbeat


async def test_a_heartbeat_extends_the_message_and_once_claimed_the_lease(outside: Outside) -> None:
    message, lease = a_message(), Lease(uuid4(), 1)
    async with Heartbeat(outside, outside, message, HOUR, AT_ONCE) as heartbeat:
        await outside.until(lambda: len(outside.log) >= 2)
        assert outside.named("extend") == []
        heartbeat.hold(lease, lost=lambda: pytest.fail("it is not lost"))
        await outside.until(lambda: len(outside.named("extend")) >= 2)
    assert set(outside.log) == {("hide", message, HOUR), ("extend", lease)}


async def test_a_lost_lease_is_told_once_and_ends_the_beating(outside: Outside) -> None:
    losses: list[int] = []
    outside.fails("extend", LeaseLost("rescued"))
    async with Heartbeat(outside, outside, a_message(), HOUR, AT_ONCE) as heartbeat:
        heartbeat.hold(Lease(uuid4(), 1), lost=lambda: losses.append(1))
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            await heartbeat._loop
        assert losses == [1]


@pytest.mark.parametrize("error", [AWAY, ValueError("a defect of ours")])
@pytest.mark.parametrize("name", ["extend", "hide"])
async def test_a_missed_beat_is_followed_by_the_next(outside: Outside, name: str, error: Exception) -> None:
    outside.fails(name, error, error)
    async with Heartbeat(outside, outside, a_message(), HOUR, AT_ONCE) as heartbeat:
        heartbeat.hold(Lease(uuid4(), 1), lost=lambda: pytest.fail("it is not lost"))
        await outside.until(lambda: len(outside.named(name)) >= 4)


async def test_a_beat_under_way_is_finished_before_the_block_is_left(outside: Outside) -> None:
    begun, gate, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(message: Message, duration: timedelta) -> None:
        begun.set()
        await gate.wait()
        ended.set()

    outside.hide = slow  # type: ignore[method-assign]
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        async with Heartbeat(outside, outside, a_message(), HOUR, AT_ONCE):
            await begun.wait()
            asyncio.get_running_loop().call_soon(gate.set)
    assert ended.is_set()


async def test_an_attempt_whose_lease_is_lost_is_stopped_and_writes_nothing(
    outside: Outside, handlers: Handlers
) -> None:
    outside.fails("extend", LeaseLost("cancelled"))
    message = a_message()
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await an_executor(outside, handlers, beat_every=AT_ONCE).execute(message)
    assert handlers.started == 1
    assert handlers.running == 0
    assert outside.named("complete", "retry", "fail", "release") == []
    assert outside.named("acknowledge") == [("acknowledge", message)]


# ---------------------------------------------------------------- progress


@pytest.fixture
def quick_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "EVERY", AT_ONCE)


def reports(outside: Outside) -> list[Progress]:
    return [entry[1] for entry in outside.named("progress")]


async def test_of_many_reports_the_first_and_the_last_are_written(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interval is too long for more: leaving the block ends it."""
    monkeypatch.setattr(progress_module, "EVERY", HOUR)
    async with ProgressReporter(outside, outside, Lease(uuid4(), 1)) as reporter:
        reporter.report(Progress(0.0))
        await outside.until(lambda: len(reports(outside)) == 1)
        for number in range(1, 101):
            reporter.report(Progress(number / 100))
        await asyncio.sleep(0)
    assert reports(outside) == [Progress(0.0), Progress(1.0)]
    assert len(outside.named("publish")) == len(reports(outside))


async def test_reports_may_come_from_a_thread(outside: Outside, quick_progress: None) -> None:
    async with ProgressReporter(outside, outside, Lease(uuid4(), 1)) as reporter:
        await asyncio.to_thread(reporter.report, Progress(0.5, "half"))
        await outside.until(lambda: Progress(0.5, "half") in reports(outside))


async def test_a_task_that_reports_nothing_writes_nothing(outside: Outside) -> None:
    async with ProgressReporter(outside, outside, Lease(uuid4(), 1)):
        pass
    assert outside.log == []


async def test_a_report_after_the_end_is_dropped(outside: Outside, quick_progress: None) -> None:
    async with ProgressReporter(outside, outside, Lease(uuid4(), 1)) as reporter:
        pass
    reporter.report(Progress(0.5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert outside.log == []


async def test_a_report_that_meets_an_outage_is_dropped_and_the_next_is_written(
    outside: Outside, quick_progress: None
) -> None:
    outside.fails("progress", AWAY)
    async with ProgressReporter(outside, outside, Lease(uuid4(), 1)) as reporter:
        reporter.report(Progress(0.1))
        await outside.until(lambda: len(reports(outside)) == 1)
        reporter.report(Progress(0.2))
        await outside.until(lambda: len(reports(outside)) == 2)
    assert len(outside.named("publish")) == 1


async def test_without_its_lease_an_attempt_reports_no_more(outside: Outside, quick_progress: None) -> None:
    outside.fails("progress", LeaseLost("rescued"))
    async with ProgressReporter(outside, outside, Lease(uuid4(), 1)) as reporter:
        for number in range(5):
            reporter.report(Progress(number / 10))
            await outside.until(lambda: len(reports(outside)) >= 1)
    assert len(reports(outside)) == 1
    assert outside.named("publish") == []


# ---------------------------------------------------------------- recorder

FAILURE = Failure("EXCEPTION", "The handler raised ValueError.", retryable=True)
OUTCOMES: Sequence[tuple[Outcome, str]] = [
    (Succeeded({"x": 1}), "complete"),
    (Retry(FAILURE, HOUR), "retry"),
    (Failed(FAILURE), "fail"),
    (Released(), "release"),
]


@pytest.fixture
def quick_recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "FIRST_PAUSE", NOTHING)


@pytest.mark.parametrize(("outcome", "name"), OUTCOMES, ids=[name for _, name in OUTCOMES])
async def test_each_outcome_is_the_transition_of_its_name_and_is_published(
    outside: Outside, outcome: Outcome, name: str
) -> None:
    lease = Lease(uuid4(), 1)
    await Recorder(outside, outside).record(lease, outcome, keep_trying=HOUR)
    assert [entry[0] for entry in outside.log] == [name, "publish"]
    assert outside.log[0][1] == lease
    assert outside.log[1] == ("publish", lease.task_id)


async def test_an_abandoned_attempt_writes_and_says_nothing(outside: Outside) -> None:
    await Recorder(outside, outside).record(Lease(uuid4(), 1), Abandoned(), keep_trying=HOUR)
    assert outside.log == []


@pytest.mark.parametrize(("outcome", "name"), OUTCOMES, ids=[name for _, name in OUTCOMES])
async def test_an_outcome_is_written_as_soon_as_postgresql_is_back(
    outside: Outside, quick_recorder: None, outcome: Outcome, name: str
) -> None:
    outside.fails(name, *[AWAY] * 5)
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await Recorder(outside, outside).record(Lease(uuid4(), 1), outcome, keep_trying=HOUR)
    assert [entry[0] for entry in outside.log] == [name] * 6 + ["publish"]


async def test_an_outcome_is_given_up_when_its_lease_must_have_ended(
    outside: Outside, quick_recorder: None
) -> None:
    outside.fails("complete", *[AWAY] * 100_000)
    with pytest.raises(Unavailable):
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            await Recorder(outside, outside).record(Lease(uuid4(), 1), Succeeded(None), keep_trying=AT_ONCE)
    assert outside.named("complete")
    assert outside.named("publish") == []


async def test_an_outcome_whose_lease_went_during_an_outage_is_thrown_away(
    outside: Outside, quick_recorder: None
) -> None:
    outside.fails("complete", AWAY, LeaseLost("rescued"))
    await Recorder(outside, outside).record(Lease(uuid4(), 1), Succeeded(None), keep_trying=HOUR)
    assert [entry[0] for entry in outside.log] == ["complete", "complete"]


async def test_an_unexpected_error_is_not_swallowed(outside: Outside) -> None:
    outside.fails("complete", ValueError("a defect of ours"))
    with pytest.raises(ValueError, match="defect"):
        await Recorder(outside, outside).record(Lease(uuid4(), 1), Succeeded(None), keep_trying=HOUR)


async def test_a_task_that_was_cancelled_meanwhile_is_stopped_and_acknowledged(
    outside: Outside, handlers: Handlers
) -> None:
    outside.waiting.extend(messages(1))
    async with at_work(outside, handlers):
        await outside.until(lambda: handlers.running == 1)
        [(_, task_id)] = outside.named("claim")
        outside.lost.add(Lease(task_id, 1))
        await outside.until(lambda: handlers.running == 0 and bool(outside.named("acknowledge")))
    assert outside.named("complete", "retry", "fail", "release") == [], "it is nobody's any more"
