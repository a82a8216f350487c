"""Upkeep besides the relay, on scripted ports: dead letters, rescue, expiry, queues that nobody polls."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from taskql.ports import DeadLetter
from taskql.queues import Queue
from taskql.upkeep import relay
from taskql.upkeep.dead_letters import DeadLetterRelay
from taskql.upkeep.relay import Relay
from taskql.upkeep.rescuer import EXPIRE_ROWS, RESENDS_AT_ONCE, Expirer, Rescuer
from taskql.upkeep.silence import SilentQueues
from tests.unit.outside import Events, Outside, event, many, running


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def no_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the first thing that a relay does."""
    monkeypatch.setattr(relay, "SWEEP_EVERY", timedelta(days=1))


def letters(count: int) -> list[DeadLetter]:
    return [
        DeadLetter(uuid4(), "reason", "body", None, None, Queue.NORMAL, datetime.now(UTC))
        for _ in range(count)
    ]


# ---------------------------------------------------------------- dead letters and rescue


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


async def test_what_was_rescued_is_published_and_sent_at_once(outside: Outside, no_sweeps: None) -> None:
    events = Events()
    sender = Relay(outside, outside)
    async with running(sender.run()):
        await outside.until(lambda: outside.sweeps == 1)
        outside.rescued = [event(1), event(2)]
        outside.due = due = many(2)
        await Rescuer(outside, events, sender, timedelta(minutes=1)).step()
        assert events == [event(1), event(2)]
        await outside.until(lambda: outside.marked == due)
    assert outside.asked_to_resend == [(timedelta(minutes=1), RESENDS_AT_ONCE)]


async def test_what_is_lost_is_sent_at_once(outside: Outside, no_sweeps: None) -> None:
    sender = Relay(outside, outside)
    async with running(sender.run()):
        await outside.until(lambda: outside.sweeps == 1)
        outside.lost = 2
        outside.due = due = many(2)
        await Rescuer(outside, Events(), sender, timedelta(minutes=1)).step()
        await outside.until(lambda: outside.marked == due)


async def test_a_rescuer_that_finds_nothing_wakes_nobody(outside: Outside, no_sweeps: None) -> None:
    sender = Relay(outside, outside)
    async with running(sender.run()):
        await outside.until(lambda: outside.sweeps == 1)
        outside.due = due = many(2)
        await Rescuer(outside, Events(), sender, timedelta(minutes=1)).step()
        sender.offer(offered := many(1))  # whatever else was to be done is done before
        await outside.until(lambda: outside.marked == offered)
    assert (outside.sweeps, outside.due) == (1, due)


# ---------------------------------------------------------------- expiry


@pytest.mark.parametrize(
    ("count", "asked"), [(0, 1), (1, 1), (EXPIRE_ROWS, 2), (EXPIRE_ROWS + 1, 2), (3 * EXPIRE_ROWS - 1, 3)]
)
async def test_all_that_has_expired_is_published_a_batch_at_a_time(
    outside: Outside, count: int, asked: int
) -> None:
    events = Events()
    outside.expiring = expiring = [event(number) for number in range(count)]
    await Expirer(outside, events).step()
    assert events == expiring
    assert outside.expirations == asked


# ---------------------------------------------------------------- queues that nobody polls


async def test_only_of_an_empty_queue_is_it_known_how_far_it_is(outside: Outside) -> None:
    outside.silent = {Queue.NORMAL: True, Queue.LOW: False}
    before = datetime.now(UTC)
    await SilentQueues(outside, outside, timedelta(minutes=1)).step()
    assert set(outside.watermarks) == {Queue.NORMAL}
    assert before <= outside.watermarks[Queue.NORMAL] <= datetime.now(UTC)
