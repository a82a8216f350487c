"""The relay on scripted ports: everything due is sent, nothing counts as sent that SQS did not take."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from taskql.errors import Unavailable
from taskql.ports import SQS_MAX_BATCH, DeadLetter, Dispatch
from taskql.task import TaskEvent
from taskql.upkeep import pace, relay
from taskql.upkeep.dead_letters import DeadLetterRelay
from taskql.upkeep.pace import repeat
from taskql.upkeep.relay import MAX_OFFERED, PARALLEL_SENDS, SWEEP_ROWS, Relay, batches
from taskql.upkeep.rescuer import RESENDS_AT_ONCE, Rescuer

LONGEST_WAIT_SECONDS = 60


def dispatch(queue: str = "normal") -> Dispatch:
    return Dispatch(uuid4(), queue, 0)


def many(count: int, queue: str = "normal") -> list[Dispatch]:
    return [dispatch(queue) for _ in range(count)]


class Outside:
    """A store and a queue, both in memory; each can be away."""

    def __init__(self) -> None:
        self.due: list[Dispatch] = []
        self.sent: list[list[Dispatch]] = []
        self.marked: list[Dispatch] = []
        self.sweeps = 0
        self.queue_away = self.store_away = False
        self.refused: set[Dispatch] = set()
        self.sending = self.most_sending = 0
        self.held: asyncio.Event | None = None
        self.changed = asyncio.Event()
        self.on_send: Callable[[], None] = lambda: None
        self.letters: list[DeadLetter] = []
        self.letters_marked: list[UUID] = []
        self.letters_refused: set[UUID] = set()
        self.rescued: list[TaskEvent] = []
        self.lost = 0
        self.asked_to_resend: list[tuple[timedelta, int]] = []

    async def reserve_due(self, limit: int) -> list[Dispatch]:
        self.sweeps += 1
        self.changed.set()
        if self.store_away:
            raise Unavailable("PostgreSQL is away")
        found, self.due = self.due[:limit], self.due[limit:]
        return found

    async def mark_sent(self, dispatches: Sequence[Dispatch]) -> None:
        self.marked += dispatches
        self.changed.set()

    async def send(self, dispatches: Sequence[Dispatch]) -> list[Dispatch]:
        self.sending += 1
        self.most_sending = max(self.most_sending, self.sending)
        self.changed.set()
        try:
            await (self.held.wait() if self.held else asyncio.sleep(0))
            self.on_send()
            if self.queue_away:
                raise Unavailable("SQS is away")
            self.sent.append(list(dispatches))
            return [each for each in dispatches if each not in self.refused]
        finally:
            self.sending -= 1
            self.changed.set()

    async def reserve_dead_letters(self, limit: int) -> list[DeadLetter]:
        found, self.letters = self.letters[:limit], self.letters[limit:]
        return found

    async def send_dead_letters(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        assert len(letters) <= SQS_MAX_BATCH
        return [letter for letter in letters if letter.id not in self.letters_refused]

    async def forget_older(self, age: timedelta, limit: int) -> int:
        raise NotImplementedError

    async def mark_dead_letters_sent(self, ids: Sequence[UUID]) -> None:
        self.letters_marked += ids

    async def rescue_expired(self, limit: int) -> list[TaskEvent]:
        found, self.rescued = self.rescued[:limit], self.rescued[limit:]
        return found

    async def resend_lost(self, margin: timedelta, limit: int) -> int:
        self.asked_to_resend.append((margin, limit))
        return self.lost

    async def raise_watermark(self, queue: str, sent_at: datetime) -> None: ...

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            while not holds():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def outside() -> Outside:
    return Outside()


@asynccontextmanager
async def running(step: Awaitable[None]) -> AsyncIterator[None]:
    loop = asyncio.ensure_future(step)
    try:
        yield
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_PAUSE", timedelta(0))
    monkeypatch.setattr(pace, "LONGEST_PAUSE", timedelta(0))
    monkeypatch.setattr(relay, "SWEEP_EVERY", timedelta(milliseconds=1))


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
    mixed = [dispatch(queue) for _ in range(12) for queue in ("normal", "high")]
    found = batches(mixed)
    assert sorted((batch[0].queue, len(batch)) for batch in found) == [
        ("high", 2),
        ("high", 10),
        ("normal", 2),
        ("normal", 10),
    ]
    assert all(len({each.queue for each in batch}) == 1 for batch in found)


# ---------------------------------------------------------------- what is offered


async def test_what_is_offered_is_sent_without_waiting_for_a_sweep(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "SWEEP_EVERY", timedelta(days=1))
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


async def test_offering_more_than_can_be_remembered_leaves_the_rest_to_the_sweep(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "SWEEP_EVERY", timedelta(days=1))
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
    outside.due = due = [*many(10), *many(10, "high")]
    normal = outside.send

    async def send(dispatches: Sequence[Dispatch]) -> list[Dispatch]:
        if dispatches[0].queue == "normal":
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
        await outside.until(lambda: outside.sweeps >= 3)
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


# ---------------------------------------------------------------- dead letters and rescue


def letters(count: int) -> list[DeadLetter]:
    return [
        DeadLetter(uuid4(), "reason", "body", None, None, "normal", datetime.now(UTC)) for _ in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 10, 11, 30])
async def test_dead_letters_are_sent_and_then_marked(outside: Outside, count: int) -> None:
    outside.letters = all_letters = letters(count)
    await DeadLetterRelay(outside, outside).step()
    assert outside.letters_marked == [letter.id for letter in all_letters]


async def test_a_dead_letter_that_the_queue_refuses_is_not_marked(outside: Outside) -> None:
    outside.letters = all_letters = letters(12)
    outside.letters_refused = {all_letters[3].id}
    await DeadLetterRelay(outside, outside).step()
    assert set(outside.letters_marked) == {letter.id for letter in all_letters} - outside.letters_refused


class Events(list[TaskEvent]):
    def publish(self, event: TaskEvent) -> None:
        self.append(event)


def event(number: int) -> TaskEvent:
    """The rescuer only passes it on."""
    return number  # type: ignore[return-value]


async def test_what_was_rescued_is_published_and_sent_at_once(outside: Outside) -> None:
    events = Events()
    outside.rescued = [event(1), event(2)]
    outside.due = due = many(2)
    await Rescuer(outside, events, Relay(outside, outside), timedelta(minutes=1)).step()
    assert events == [event(1), event(2)]
    assert outside.marked == due
    assert outside.asked_to_resend == [(timedelta(minutes=1), RESENDS_AT_ONCE)]


async def test_what_is_lost_is_sent_at_once(outside: Outside) -> None:
    outside.lost = 2
    outside.due = due = many(2)
    await Rescuer(outside, Events(), Relay(outside, outside), timedelta(minutes=1)).step()
    assert outside.marked == due


async def test_a_rescuer_that_finds_nothing_does_not_sweep(outside: Outside) -> None:
    outside.due = many(2)
    await Rescuer(outside, Events(), Relay(outside, outside), timedelta(minutes=1)).step()
    assert outside.sweeps == 0
