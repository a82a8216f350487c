"""What clients ask for: sorts of tasks, in all the ways to ask."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.faults.evidence import Batch, End, Request

ORDERING_KEYS = ("account 1", "account 2", "account 3", "account 4")
ORDERED, HURRIED, PATIENT = 0.3, 0.15, 0.15
"""Shares of the tasks with an ordering key, with the priority HIGH, with LOW."""
LATER, EXPIRING = 0.12, 0.15
"""Shares with a runAt, with an expiresAt."""
PAST = timedelta(seconds=-5)


@dataclass(frozen=True, slots=True)
class Plan:
    """A sort of task: how often it comes, what it is, and how it must end."""

    weight: int
    work: Callable[[random.Random], dict[str, Any]]
    end: End
    leaves_mark: bool = False
    follow_ups: int = 0


PLANS = (
    Plan(30, lambda rng: {"leaveMark": {"seconds": rng.uniform(0, 1.5)}}, End.SUCCESS, True),
    Plan(13, lambda rng: {"leaveMarkFromThread": {"seconds": rng.uniform(0, 3)}}, End.SUCCESS, True),
    Plan(13, lambda _: {"leaveMark": {"seconds": 0.5, "failures": 1, "followUps": 2}}, End.SUCCESS, True, 2),
    Plan(18, lambda rng: {"leaveMark": {"seconds": rng.uniform(1.5, 4)}}, End.SUCCESS, True),
    Plan(6, lambda _: {"leaveMark": {"failures": 4, "afterSeconds": 0.2}}, End.SUCCESS_AT_LAST, True),
    Plan(8, lambda _: {"fail": {"permanent": True}}, End.PERMANENT_FAILURE),
    Plan(6, lambda _: {"fail": {}}, End.EXHAUSTION),
    Plan(10, lambda _: {"countdown": {"steps": 4, "stepSeconds": 0.3}}, End.SUCCESS),
    Plan(8, lambda rng: {"process": {"simulateSeconds": rng.uniform(0, 1.5)}}, End.SUCCESS),
)
ORDERED_PLANS = (
    Plan(40, lambda rng: {"leaveMark": {"seconds": rng.uniform(0, 0.8)}}, End.SUCCESS, True),
    Plan(10, lambda rng: {"leaveMarkFromThread": {"seconds": rng.uniform(0, 1)}}, End.SUCCESS, True),
    Plan(10, lambda _: {"leaveMark": {"failures": 1, "afterSeconds": 0.3}}, End.SUCCESS, True),
    Plan(10, lambda _: {"leaveMark": {"seconds": 0.5, "followUps": 2}}, End.SUCCESS, True, 2),
    Plan(6, lambda _: {"leaveMark": {"failures": 4, "afterSeconds": 0.1}}, End.SUCCESS_AT_LAST, True),
    Plan(16, lambda _: {"fail": {"permanent": True}}, End.PERMANENT_FAILURE),
    Plan(4, lambda _: {"fail": {}}, End.EXHAUSTION),
)
"""They are shorter: all of a key take their time one after another."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A request, and the CreateTaskInput that makes it; None of a request that must be refused."""

    request: Request | None
    input: dict[str, Any]


def wish(number: int, rng: random.Random, ordering_key: str | None = None) -> Wish:
    """A task of any sort, under its own idempotency key."""
    if ordering_key is None and rng.random() < ORDERED:
        ordering_key = rng.choice(ORDERING_KEYS)
    plans = PLANS if ordering_key is None else ORDERED_PLANS
    [plan] = rng.choices(plans, [plan.weight for plan in plans])
    request = Request(f"key {number}", plan.end, plan.leaves_mark, ordering_key=ordering_key)
    request.follow_ups = plan.follow_ups
    input = {"title": request.key, "work": plan.work(rng), "idempotencyKey": request.key}
    if ordering_key is not None:
        input["orderingKey"] = ordering_key
    else:
        chances = [HURRIED, PATIENT, 1 - HURRIED - PATIENT]
        [input["priority"]] = rng.choices(["HIGH", "LOW", "NORMAL"], chances)
    now = datetime.now(UTC)
    if rng.random() < LATER:
        request.run_at = now + (PAST if rng.random() < 0.2 else timedelta(seconds=rng.uniform(0.5, 4)))
        input["runAt"] = request.run_at.isoformat()
    if rng.random() < EXPIRING:
        spare = rng.choice((rng.uniform(0.05, 0.6), rng.uniform(0.5, 3), rng.uniform(3, 20)))
        request.expires_at = max(now, request.run_at or now) + timedelta(seconds=spare)
        input["expiresAt"] = request.expires_at.isoformat()
    return Wish(request, input)


def batch_of(numbers: Sequence[int], rng: random.Random) -> list[Wish]:
    """Several, often all in one line; a bad one and a repeated one among them."""
    ordering_key = rng.choice(ORDERING_KEYS) if rng.random() < 0.5 else None
    wishes = [wish(number, rng, ordering_key) for number in numbers]
    if rng.random() < 0.5:
        wishes.append(rng.choice(wishes))
    if rng.random() < 0.5:
        wishes.insert(rng.randrange(len(wishes)), Wish(None, bad(rng)))
    return wishes


def bad(rng: random.Random) -> dict[str, Any]:
    """What must be refused, whatever else is with it."""
    later = datetime.now(UTC) + timedelta(hours=1)
    return rng.choice(
        (
            {"title": " "},
            {"title": "bad", "orderingKey": ORDERING_KEYS[0], "priority": "HIGH"},
            {"title": "bad", "runAt": later.isoformat(), "expiresAt": later.isoformat()},
            {"title": "bad", "work": {"countdown": {"steps": 0}}},
        )
    )


def as_batch(wishes: Sequence[Wish]) -> Batch:
    return Batch([each.request for each in wishes])
