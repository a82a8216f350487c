"""The worker on scripted ports: slots and drain."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from consumer import intake as intake_module
from consumer import worker as worker_module
from consumer.courtesy import Courtesy
from consumer.watermark import Watermarks
from consumer.worker import Worker
from taskql.ports import Claim, Claimed
from taskql.queues import Queue
from taskql.task import Lease
from tests.unit.scripted import (
    AT_ONCE,
    AWAY,
    HOUR,
    LONGEST_WAIT_SECONDS,
    NOTHING,
    NOW,
    Handlers,
    Outside,
    a_message,
    a_task,
    an_executor,
    messages,
)


@pytest.fixture(autouse=True)
def short_head_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "HEAD_START", AT_ONCE)


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def handlers(outside: Outside) -> Handlers:
    return Handlers(outside)


class Running:
    """A worker at work."""

    def __init__(self, outside: Outside, handlers: Handlers, concurrency: int, grace: timedelta) -> None:
        async def raise_watermark(queue: Queue, sent_at: datetime) -> None:
            outside.note("watermark", queue, sent_at)

        self.stopping, self.hurry = asyncio.Event(), asyncio.Event()
        self.outside = outside
        receiver = Courtesy(outside)
        worker = Worker(
            receiver,
            an_executor(outside, handlers, receiver=receiver),
            Watermarks(raise_watermark),
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
    running = Running(outside, handlers, concurrency, grace)
    try:
        yield running
    finally:
        handlers.gate.set()
        handlers.thread_gate.set()
        running.stop()
        running.hurry.set()
        while not running.loop.done():
            outside.end_polls()
            await asyncio.sleep(0)
        await running.end()


# ---------------------------------------------------------------- slots


@pytest.mark.parametrize("concurrency", [1, 3, 15])
async def test_no_more_tasks_run_at_a_time_than_allowed(
    outside: Outside, handlers: Handlers, concurrency: int
) -> None:
    outside.hold(*messages(40))
    async with at_work(outside, handlers, concurrency=concurrency):
        await outside.until(lambda: handlers.running == concurrency)
        assert len(outside.waiting[Queue.NORMAL]) == 40 - concurrency, (
            "what there is no slot for stays in the queue"
        )
        handlers.gate.set()
        await outside.until(lambda: len(outside.named("acknowledge")) == 40)
    assert handlers.most_running == concurrency


async def test_a_message_that_cannot_be_dealt_with_frees_its_slot(
    outside: Outside, handlers: Handlers
) -> None:
    outside.claim_is = lambda _: ValueError("a defect of ours")
    outside.hold(*messages(7))
    async with at_work(outside, handlers, concurrency=2):
        await outside.until(lambda: len(outside.named("claim")) == 7 and len(outside.polls) == 4)
    assert outside.named("acknowledge") == [], "it comes again"


async def test_a_thread_that_outlived_its_time_limit_keeps_its_slot(
    outside: Outside, handlers: Handlers
) -> None:
    outside.claim_is = lambda task_id: Claimed(Lease(task_id, 1), a_task(task_id, "slowThread"))
    outside.hold(*messages(2))
    async with at_work(outside, handlers, concurrency=1):
        await outside.until(lambda: len(outside.named("acknowledge")) == 1)
        assert len(outside.named("retry")) == 1, "the outcome is recorded at once"
        for _ in range(50):  # turns of the loop: enough for the next claim, if the slot were free
            await asyncio.sleep(0)
        assert len(outside.named("claim")) == 1
        handlers.thread_gate.set()
        await outside.until(lambda: len(outside.named("acknowledge")) == 2)


async def test_a_slot_is_free_once_the_outcome_is_recorded_whether_or_not_the_message_is_acknowledged(
    outside: Outside, handlers: Handlers
) -> None:
    outside.may_acknowledge.clear()
    handlers.gate.set()
    outside.hold(*messages(5))
    async with at_work(outside, handlers, concurrency=1):
        await outside.until(lambda: len(outside.named("complete")) == 5)
        assert outside.named("acknowledge") == []
        outside.may_acknowledge.set()
        await outside.until(lambda: len(outside.named("acknowledge")) == 5)


@pytest.mark.parametrize("error", [AWAY, ValueError("a defect of ours")])
async def test_a_message_that_cannot_be_acknowledged_holds_up_nothing(
    outside: Outside, handlers: Handlers, error: Exception
) -> None:
    outside.fails("acknowledge", error, error)
    handlers.gate.set()
    outside.hold(*messages(2))
    async with at_work(outside, handlers, concurrency=1) as running:
        await outside.until(lambda: len(outside.named("acknowledge")) == 2)
        running.stop()
        outside.end_polls()
        await running.end()
    assert len(outside.named("complete")) == 2


async def test_what_was_received_raises_the_watermark(outside: Outside, handlers: Handlers) -> None:
    handlers.gate.set()
    outside.hold(a_message(queue=Queue.LOW))
    async with at_work(outside, handlers):
        await outside.until(lambda: ("watermark", Queue.LOW, NOW) in outside.log)


async def test_a_task_that_was_cancelled_meanwhile_is_stopped_and_acknowledged(
    outside: Outside, handlers: Handlers
) -> None:
    outside.hold(*messages(1))
    async with at_work(outside, handlers):
        await outside.until(lambda: handlers.running == 1)
        [(_, task_id)] = outside.named("claim")
        outside.lost.add(Lease(task_id, 1))
        await outside.until(lambda: handlers.running == 0 and bool(outside.named("acknowledge")))
    assert outside.named("complete", "retry", "fail", "release") == [], "it is nobody's any more"


# ---------------------------------------------------------------- stopping


async def test_an_idle_worker_ends_when_its_open_polls_do(outside: Outside, handlers: Handlers) -> None:
    async with at_work(outside, handlers) as running:
        await outside.until_idle()
        running.stop()
        for queue in Queue:
            await asyncio.sleep(0)
            assert not running.loop.done(), "an open poll is never cut off"
            outside.end_polls(queue)
        await running.end()
    assert len(outside.asked) == 4


async def test_messages_that_arrive_while_stopping_are_given_back(
    outside: Outside, handlers: Handlers
) -> None:
    arriving = [a_message(queue=queue) for queue in Queue]
    async with at_work(outside, handlers) as running:
        await outside.until_idle()
        running.stop()
        outside.bring(*arriving)
        await running.end()
    given_back = {message.queue: (message, duration) for _, message, duration in outside.named("hide")}
    assert given_back == {message.queue: (message, NOTHING) for message in arriving}
    assert outside.named("claim", "acknowledge") == []


async def test_the_grace_counts_from_the_stop_whatever_polls_are_open(
    outside: Outside, handlers: Handlers
) -> None:
    outside.hold(*messages(1))
    async with at_work(outside, handlers, grace=AT_ONCE) as running:
        await outside.until(lambda: handlers.running == 1)
        await outside.until_idle()
        running.stop()
        await outside.until(lambda: len(outside.named("release")) == 1)
        assert len(outside.polls) == 4
        assert not running.loop.done()


async def test_messages_that_cannot_be_given_back_hold_up_nothing(
    outside: Outside, handlers: Handlers
) -> None:
    outside.fails("hide", AWAY)
    async with at_work(outside, handlers) as running:
        await outside.until_idle()
        running.stop()
        outside.bring(*messages(2))
        outside.end_polls()
        await running.end()
    assert len(outside.named("hide")) == 2


async def test_a_stopping_worker_waits_for_what_runs(outside: Outside, handlers: Handlers) -> None:
    outside.hold(*messages(3))
    async with at_work(outside, handlers) as running:
        await outside.until(lambda: handlers.running == 3)
        running.stop()
        outside.end_polls()
        await asyncio.sleep(0)
        assert not running.loop.done()
        handlers.gate.set()
        await running.end()
    assert len(outside.named("complete")) == 3
    assert outside.named("release") == []


async def test_a_stopping_worker_waits_for_the_last_acknowledgements(
    outside: Outside, handlers: Handlers
) -> None:
    outside.may_acknowledge.clear()
    handlers.gate.set()
    outside.hold(*messages(3))
    async with at_work(outside, handlers) as running:
        await outside.until(lambda: len(outside.named("complete")) == 3)
        running.stop()
        while outside.polls:
            outside.end_polls()
            await asyncio.sleep(0)
        for _ in range(50):  # turns of the loop: enough for the end, if nothing were waited for
            await asyncio.sleep(0)
        assert not running.loop.done()
        outside.may_acknowledge.set()
        await running.end()
    assert len(outside.named("acknowledge")) == 3


async def test_what_still_runs_when_the_grace_is_over_is_released(
    outside: Outside, handlers: Handlers
) -> None:
    outside.hold(*messages(3))
    async with at_work(outside, handlers, grace=AT_ONCE) as running:
        await outside.until(lambda: handlers.running == 3)
        running.stop()
        outside.end_polls()
        await running.end()
    assert len(outside.named("release")) == 3
    assert len(outside.named("acknowledge")) == 3
    assert outside.named("complete") == []
    assert handlers.running == 0


async def test_hurry_cuts_the_grace_short(outside: Outside, handlers: Handlers) -> None:
    outside.hold(*messages(3))
    async with at_work(outside, handlers, grace=HOUR) as running:
        await outside.until(lambda: handlers.running == 3)
        running.stop()
        outside.end_polls()
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
    outside.hold(a_message(broken), *messages(2))
    async with at_work(outside, handlers) as running:
        await outside.until(lambda: handlers.running == 2)
        running.stop()
        outside.end_polls()
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
    outside.hold(*messages(1))
    async with at_work(outside, handlers, concurrency=1, grace=AT_ONCE) as running:
        await outside.until(lambda: len(outside.named("acknowledge")) == 1)
        running.stop()
        outside.end_polls()
        await running.end()
        assert not handlers.thread_gate.is_set()
