"""Whose turn it is, over many turns."""

import random
from collections import Counter
from collections.abc import Iterator
from itertools import chain, combinations, pairwise

import pytest

from consumer.turns import Turns
from taskql.queues import SHARES, Queue

MIXES = list(chain.from_iterable(combinations(Queue, size) for size in range(1, len(Queue) + 1)))
LAP = sum(SHARES.values())


def turns_of(*busy: Queue) -> Turns:
    """Only these have messages; that the others have none is known."""
    turns = Turns()
    for queue in set(Queue) - set(busy):
        turns.leave(queue)
    return turns


def picks(turns: Turns, count: int) -> Iterator[Queue]:
    for _ in range(count):
        queue = turns.first()
        assert queue is not None
        turns.took(queue, 1)
        yield queue


@pytest.mark.parametrize("busy", MIXES, ids="-".join)
def test_busy_queues_share_the_slots_by_weight(busy: tuple[Queue, ...]) -> None:
    found = Counter(picks(turns_of(*busy), 1_000))
    for queue in busy:
        fair = 1_000 * SHARES[queue] / sum(SHARES[each] for each in busy)
        assert found[queue] == pytest.approx(fair, abs=2)


def test_no_queue_waits_longer_than_a_lap() -> None:
    order = list(picks(turns_of(*Queue), 1_000))
    for queue in Queue:
        places = [-1, *(place for place, each in enumerate(order) if each is queue)]
        waits = [later - earlier for earlier, later in pairwise(places)]
        assert max(waits) <= LAP


@pytest.mark.parametrize("seed", range(20))
def test_low_has_its_turn_whatever_the_others_do(seed: int) -> None:
    """They come and go as they like; it may be passed by what they have earned in a lap, and no more."""
    chance, turns, passed = random.Random(seed), Turns(), 0
    for _ in range(2_000):
        other = chance.choice([Queue.HIGH, Queue.NORMAL, Queue.FIFO])
        chance.choice([turns.join, turns.leave])(other)
        [queue] = picks(turns, 1)
        passed = 0 if queue is Queue.LOW else passed + 1
        assert passed <= LAP


@pytest.mark.parametrize("seed", range(20))
def test_over_any_time_of_busyness_the_shares_of_two_queues_differ_by_a_turn_each(seed: int) -> None:
    """Whatever the others do: the bound that makes a scheduler fair."""
    chance, turns, found = random.Random(seed), turns_of(Queue.HIGH, Queue.LOW), Counter[Queue]()
    for _ in range(2_000):
        other = chance.choice([Queue.NORMAL, Queue.FIFO])
        chance.choice([turns.join, turns.leave])(other)
        found.update(picks(turns, 1))
        lead = found[Queue.HIGH] / SHARES[Queue.HIGH] - found[Queue.LOW] / SHARES[Queue.LOW]
        assert abs(lead) <= 1 / SHARES[Queue.HIGH] + 1 / SHARES[Queue.LOW]


@pytest.mark.parametrize("backlog", [Queue.NORMAL, Queue.LOW, Queue.FIFO])
def test_a_lone_message_of_high_is_taken_before_a_backlog(backlog: Queue) -> None:
    turns = turns_of(backlog)
    for taken in range(50):
        list(picks(turns, 10 + taken))
        turns.join(Queue.HIGH)
        assert list(picks(turns, 1)) == [Queue.HIGH]
        turns.leave(Queue.HIGH)


def test_idle_time_earns_nothing() -> None:
    turns = turns_of(Queue.NORMAL)
    list(picks(turns, 1_000))
    turns.join(Queue.LOW)
    found = Counter(picks(turns, 100))
    assert found[Queue.LOW] == pytest.approx(20, abs=1)


def test_having_worked_alone_costs_nothing() -> None:
    turns = turns_of(Queue.LOW)
    list(picks(turns, 1_000))
    turns.leave(Queue.LOW)
    turns.join(Queue.HIGH)
    turns.join(Queue.LOW)
    assert Counter(picks(turns, 13)) == {Queue.HIGH: 12, Queue.LOW: 1}


def test_a_queue_that_was_only_slow_to_answer_keeps_its_place() -> None:
    turns = turns_of(Queue.HIGH, Queue.LOW)
    for _ in range(50):
        turns.leave(Queue.LOW)
        list(picks(turns, 1))
        turns.resume(Queue.LOW)
    found = Counter(picks(turns, 13))
    assert found[Queue.LOW] >= 4, "what it has missed it makes up for"


def test_nobody_in_line_has_the_turn() -> None:
    assert turns_of().first() is None
    assert turns_of().portion(5) == 0


@pytest.mark.parametrize("slots", [1, 2, 5, 10, 21, 1_000])
@pytest.mark.parametrize("busy", MIXES, ids="-".join)
def test_a_portion_is_what_the_first_would_get_of_the_slots(busy: tuple[Queue, ...], slots: int) -> None:
    turns, twin = turns_of(*busy), turns_of(*busy)
    for _ in range(30):
        first, portion = turns.first(), turns.portion(slots)
        assert first is not None
        fair = slots * SHARES[first] / sum(SHARES[each] for each in busy)
        assert 1 <= portion <= 10
        assert portion == 10 or abs(portion - fair) <= 1 + 1e-9
        assert list(picks(turns, 1)) == list(picks(twin, 1))
