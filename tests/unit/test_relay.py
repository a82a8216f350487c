"""The relay on scripted ports: everything due is sent, nothing counts as sent that SQS did not take."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from taskql.errors import Unavailable
from taskql.ports import SQS_MAX_BATCH, Dispatch
from taskql.queues import Queue
from taskql.upkeep import pace, relay
from taskql.upkeep.pace import repeat
from taskql.upkeep.relay import MAX_OFFERED, PARALLEL_SENDS, SWEEP_ROWS, Relay, batches
from tests.unit.outside import LONGEST_WAIT_SECONDS, Outside, dispatch, many, running


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_PAUSE", timedelta(0))
    monkeypatch.setattr(pace, "LONGEST_PAUSE", timedelta(0))
    monkeypatch.setattr(relay, "SWEEP_EVERY", timedelta(milliseconds=1))
    monkeypatch.setattr(relay, "UNBLOCK_EVERY", timedelta(0))


@pytest.fixture
def no_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the first thing that a relay does."""
    monkeypatch.setattr(relay, "SWEEP_EVERY", timedelta(days=1))


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (1, [1]), (10, [10]), (11, [10, 1]), (25, [10, 10, 5])]
)
def test_batches_are_as_few_as_sqs_allows(count: int, sizes: list[int]) -> None:
    wanted = many(count)
    found = batches(wanted)
    assert [len(batch) for batch in found] == sizes
    assert [each for batch in found for each in batch] == wanted


def test_a_batch_is_for_one_queue() -> None:
    mixed = [dispatch(queue) for _ in range(12) for queue in (Queue.NORMAL, Queue.HIGH)]
    found = batches(mixed)
    assert sorted((batch[0].queue, len(batch)) for batch in found) == [
        (Queue.HIGH, 2),
        (Queue.HIGH, 10),
        (Queue.NORMAL, 2),
        (Queue.NORMAL, 10),
    ]
    assert all(len({each.queue for each in batch}) == 1 for batch in found)


# ---------------------------------------------------------------- what is offered


async def test_what_is_offered_is_sent_without_waiting_for_a_sweep(outside: Outside, no_sweeps: None) -> None:
    sender = Relay(outside, outside)
    async with running(sender.run()):
        await outside.until(lambda: outside.sweeps == 1)  # the first thing that it does
        for size in (1, 25):
            offered = many(size)
            sender.offer(offered)
            await outside.until(lambda offered=offered: set(outside.marked) >= set(offered))  # type: ignore[misc]
    assert outside.sweeps == 1
    assert sorted(map(len, outside.sent)) == [1, 5, 10, 10]


async def test_what_was_offered_before_the_relay_ran_is_sent(outside: Outside) -> None:
    sender = Relay(outside, outside)
    offered = many(3)
    sender.offer(offered)
    async with running(sender.run()):
        await outside.until(lambda: outside.marked == offered)


async def test_what_is_offered_is_sent_before_the_last_is_marked(
    outside: Outside, no_sweeps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim would have to wait for the mark."""
    monkeypatch.setattr(relay, "MARK_AFTER", timedelta(days=1))
    sender = Relay(outside, outside)
    offered = many(3)
    async with running(sender.run()):
        for number, each in enumerate(offered, 1):
            sender.offer([each])
            await outside.until(lambda number=number: len(outside.sent) == number)  # type: ignore[misc]
        assert outside.marked == []
    assert outside.marked == offered, "a relay that stops marks what it has sent"


async def test_a_relay_that_stops_does_not_wait_long_for_its_last_marks(
    outside: Outside, no_sweeps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(dispatches: Sequence[Dispatch]) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(relay, "MARK_AFTER", timedelta(days=1))
    monkeypatch.setattr(relay, "LAST_MARKS", timedelta(0))
    outside.mark_sent = hang  # type: ignore[method-assign]
    sender = Relay(outside, outside)
    async with asyncio.timeout(LONGEST_WAIT_SECONDS), running(sender.run()):
        sender.offer(many(1))
        await outside.until(lambda: len(outside.sent) == 1)


async def test_what_cannot_be_marked_does_not_hold_up_the_relay(
    outside: Outside, short_pauses: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "MARK_AFTER", timedelta(0))
    outside.mark_errors = [Unavailable("PostgreSQL is away")] * 2
    sender = Relay(outside, outside)
    async with running(sender.run()):
        for _ in range(2):
            left = len(outside.mark_errors)
            sender.offer(many(1))
            await outside.until(lambda left=left: len(outside.mark_errors) < left)  # type: ignore[misc]
        offered = many(1)
        sender.offer(offered)
        await outside.until(lambda: outside.marked == offered)


async def test_offering_more_than_can_be_remembered_leaves_the_rest_to_the_sweep(
    outside: Outside, no_sweeps: None
) -> None:
    sender = Relay(outside, outside)
    offered = many(MAX_OFFERED + 5)
    sender.offer(offered[:-1])
    sender.offer(offered[-1:])
    async with running(sender.run()):
        await outside.until(lambda: len(outside.marked) >= MAX_OFFERED)
    assert set(outside.marked) == set(offered[:MAX_OFFERED])


async def test_no_more_batches_than_allowed_are_sent_at_a_time(outside: Outside) -> None:
    outside.held = asyncio.Event()
    sender = Relay(outside, outside)
    sender.offer(many(SQS_MAX_BATCH * (PARALLEL_SENDS + 5)))
    async with running(sender.run()):
        await outside.until(lambda: outside.sending == PARALLEL_SENDS)
        outside.held.set()
        await outside.until(lambda: len(outside.sent) == PARALLEL_SENDS + 5)
    assert outside.most_sending == PARALLEL_SENDS


async def test_offers_that_never_stop_do_not_hold_up_the_sweep(outside: Outside, short_pauses: None) -> None:
    """What retries and crashed processes left is sent too, however busy this process is with its own."""
    sender = Relay(outside, outside)
    outside.on_send = lambda: sender.offer([dispatch()])
    sender.offer([dispatch()])
    async with running(sender.run()):
        await outside.until(lambda: len(outside.sent) > 20)
        outside.due = waiting = many(3)
        await outside.until(lambda: set(waiting) <= set(outside.marked))


# ---------------------------------------------------------------- what is swept


async def test_a_sweep_sends_all_that_is_due(outside: Outside) -> None:
    outside.due = due = many(SWEEP_ROWS * 2 + 7)
    await Relay(outside, outside).sweep()
    assert set(outside.marked) == set(due)
    assert outside.sweeps == 3


async def test_a_sweep_that_finds_nothing_sends_nothing(outside: Outside) -> None:
    await Relay(outside, outside).sweep()
    assert outside.sent == []


async def test_what_becomes_due_is_found_by_the_next_sweep(outside: Outside, short_pauses: None) -> None:
    async with running(Relay(outside, outside).run()):
        await outside.until(lambda: outside.sweeps >= 2)
        outside.due = due = many(2)
        await outside.until(lambda: outside.marked == due)


# ---------------------------------------------------------------- what runs in order


async def test_each_sweep_lets_the_first_of_every_order_go_before_it_looks(
    outside: Outside, short_pauses: None
) -> None:
    async with running(Relay(outside, outside).run()):
        await outside.until(lambda: outside.sweeps >= 3)
    assert outside.steps[:6] == ["unblock", "reserve"] * 3
    assert set(outside.unblocked) == {None}


async def test_waking_it_sweeps_at_once_and_unblocks_the_groups_that_are_named(
    outside: Outside, no_sweeps: None
) -> None:
    sender = Relay(outside, outside)
    async with running(sender.run()):
        await outside.until(lambda: outside.sweeps == 1)
        outside.due = due = many(2)
        sender.wake({"a", "b"})
        sender.wake(["c"])
        await outside.until(lambda: outside.marked == due)
        sender.wake()
        await outside.until(lambda: outside.sweeps == 3)
    assert outside.unblocked == [None, {"a", "b", "c"}]
    assert outside.steps == ["unblock", "reserve"] * 2 + ["reserve"]


async def test_waking_it_often_does_not_put_off_the_look_at_all_groups(
    outside: Outside, short_pauses: None
) -> None:
    sender = Relay(outside, outside)
    outside.on_send = sender.wake
    sender.offer(many(1))
    async with running(sender.run()):
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            while outside.unblocked.count(None) < 3:
                sender.wake(["a"])
                await asyncio.sleep(0)


async def test_waking_it_before_it_runs_is_no_mistake(outside: Outside) -> None:
    sender = Relay(outside, outside)
    sender.wake(["a"])
    async with running(sender.run()):
        await outside.until(lambda: outside.sweeps == 1)
    assert outside.unblocked == [None, {"a"}]


async def test_groups_that_could_not_be_unblocked_are_looked_at_once_postgresql_is_back(
    outside: Outside, short_pauses: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "SWEEP_EVERY", timedelta(days=1))
    monkeypatch.setattr(relay, "UNBLOCK_EVERY", timedelta(days=1))
    sender = Relay(outside, outside)
    async with running(sender.run()):
        await outside.until(lambda: outside.sweeps == 1)
        outside.store_away = True
        sender.wake(["a"])
        await outside.until(lambda: {"a"} in outside.unblocked)
        outside.store_away = False
        await outside.until(lambda: outside.sweeps == 2)
    assert outside.unblocked[-1] is None  # of all groups, and so of this one


# ---------------------------------------------------------------- what goes wrong


async def test_what_the_queue_refuses_does_not_count_as_sent(outside: Outside) -> None:
    outside.due = due = many(10)
    outside.refused = set(due[:4])
    await Relay(outside, outside).sweep()
    assert outside.marked == due[4:]


async def test_a_batch_that_is_refused_whole_is_not_marked(outside: Outside) -> None:
    outside.due = due = many(3)
    outside.refused = set(due)
    await Relay(outside, outside).sweep()
    assert outside.marked == []


async def test_a_batch_that_finds_sqs_away_takes_no_other_along(outside: Outside) -> None:
    outside.due = due = [*many(10), *many(10, Queue.HIGH)]
    normal = outside.send

    async def send(dispatches: Sequence[Dispatch]) -> list[Dispatch]:
        if dispatches[0].queue is Queue.NORMAL:
            raise Unavailable("SQS is away")
        return await normal(dispatches)

    outside.send = send  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await Relay(outside, outside).sweep()
    assert outside.marked == due[10:]


async def test_the_relay_goes_on_once_sqs_is_back(outside: Outside, short_pauses: None) -> None:
    sender = Relay(outside, outside)
    outside.queue_away = True
    offered = many(15)
    sender.offer(offered)
    async with running(sender.run()):
        await outside.until(lambda: outside.sweeps >= 2)
        assert outside.marked == []
        # What was offered is reserved in PostgreSQL alone by now; its reservation ends, and a sweep finds it.
        outside.due, outside.queue_away = list(offered), False
        await outside.until(lambda: set(outside.marked) == set(offered))


async def test_the_relay_goes_on_once_postgresql_is_back(outside: Outside, short_pauses: None) -> None:
    outside.store_away = True
    async with running(Relay(outside, outside).run()):
        await outside.until(lambda: len(outside.unblocked) >= 3)
        outside.due, outside.store_away = many(2), False
        await outside.until(lambda: len(outside.marked) == 2)


@pytest.mark.parametrize("error", [Unavailable("away"), ValueError("a defect of ours")])
async def test_a_loop_goes_on_whatever_its_step_raises(short_pauses: None, error: Exception) -> None:
    steps = 0
    enough = asyncio.Event()

    async def step() -> None:
        nonlocal steps
        steps += 1
        if steps >= 3:
            enough.set()
        raise error

    async with running(repeat("test", step, timedelta(0))), asyncio.timeout(LONGEST_WAIT_SECONDS):
        await enough.wait()


async def test_a_loop_ends_although_its_step_answers_the_cancellation_with_an_error() -> None:
    begun = asyncio.Event()

    async def step() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("a defect of ours") from None

    loop = asyncio.create_task(repeat("test", step, timedelta(0)))
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await begun.wait()
        loop.cancel()
        with pytest.raises(ValueError, match="a defect of ours"):
            await loop


async def test_pauses_double_up_to_the_longest_and_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    backoff = pace.Backoff()
    for _ in range(8):
        await backoff.pause("test", Unavailable("away"))
    assert slept == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    backoff.reset()
    await backoff.pause("test", Unavailable("away"))
    assert slept[-1] == 0.2
