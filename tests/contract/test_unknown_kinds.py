"""A task of a kind that the workers it meets don't know: it waits for one that does, but not for ever."""

from datetime import timedelta

import pytest

from taskql.adapters.postgres import PostgresLeases
from taskql.adapters.postgres.claims import PUT_OFF_SECONDS
from taskql.lifecycle import TaskStatus
from taskql.message import encode
from taskql.ports import Claimed, Finished, GivenUp, NoHandler, NotDue
from taskql.task import Failure, Task
from tests.contract.conftest import KIND, MINUTE, OWNER, PATIENCE, Database

OTHERS = ["compute"]
HOUR = timedelta(hours=1)


async def everything(db: Database, task: Task) -> object:
    return await db.task(task.id), await db.row(task.id), await db.row(task.id, "dead_letters")


async def met(db: Database, task: Task, waited: timedelta = timedelta(0)) -> object:
    """What a worker answers that does not know the task's kind, when the task has waited so long by now."""
    moved = f"available_at - interval '{waited.total_seconds()} s'"
    since = f"unknown_since - interval '{waited.total_seconds()} s'"
    await db.change(task.id, f"available_at = least({moved}, now()), unknown_since = {since}")
    return await db.leases.claim(task.id, OTHERS, MINUTE)


async def given_up(db: Database, **fields: object) -> Task:
    task = await db.create(**fields)  # type: ignore[arg-type]
    await db.dispatch.unblock()
    assert await met(db, task) == NoHandler(KIND)
    assert isinstance(await met(db, task, PATIENCE), GivenUp)
    return task


async def test_it_waits_and_a_worker_that_knows_its_kind_may_still_claim_it(db: Database) -> None:
    task = await db.create()
    for _ in range(3):
        assert await met(db, task, PATIENCE / 4) == NoHandler(KIND)
    await db.change(task.id, "available_at = now()")
    claimed = await db.claim(task.id)
    assert claimed.lease.attempt == 1, "meeting a worker that does not know it is no attempt"
    assert claimed.task.version == 2, "and nothing that a watcher sees"


async def test_the_wait_begins_at_the_first_worker_and_each_look_puts_it_off_a_little(db: Database) -> None:
    task = await db.create()
    assert await met(db, task) == NoHandler(KIND)
    first = await db.row(task.id)
    assert await met(db, task) == NoHandler(KIND)
    second = await db.row(task.id)
    assert first is not None
    assert second is not None
    assert first["available_at"] - first["unknown_since"] == timedelta(seconds=PUT_OFF_SECONDS)
    assert second["unknown_since"] == first["unknown_since"]
    assert second["available_at"] > first["available_at"]


async def test_the_last_look_is_when_the_wait_is_over(db: Database) -> None:
    task = await db.create()
    assert await met(db, task) == NoHandler(KIND)
    assert await met(db, task, PATIENCE - timedelta(seconds=PUT_OFF_SECONDS / 2)) == NoHandler(KIND)
    row = await db.row(task.id)
    assert row is not None
    assert row["available_at"] == row["unknown_since"] + PATIENCE


async def test_the_worker_that_meets_it_after_the_wait_gives_it_up(db: Database) -> None:
    task = await db.create()
    assert await met(db, task) == NoHandler(KIND)
    found = await met(db, task, PATIENCE)
    assert isinstance(found, GivenUp)
    event = found.event
    assert (event.status, event.version, event.attempt) == (TaskStatus.FAILED, 2, 0)
    assert (event.attempts, event.started_at) == ((), None)
    assert event.finished_at == event.updated_at
    assert event.failure is not None
    assert (event.failure.code, event.failure.retryable) == ("UNKNOWN_KIND", True)
    assert "the kind 'reverse'" in event.failure.message
    assert "retry the task" in event.failure.message
    assert await db.task(task.id) == task.at(event)
    assert await db.row(task.id) is None
    letter = await db.row(task.id, "dead_letters")
    assert letter is not None
    assert letter["reason"] == f"UNKNOWN_KIND: {event.failure.message}"
    assert (letter["body"], letter["queue"], letter["attempt"]) == (encode(task.id), "normal", 0)
    assert (letter["owner"], letter["at"]) == (OWNER, event.finished_at)
    assert await db.leases.claim(task.id, OTHERS, MINUTE) == Finished()


async def test_a_worker_that_knows_its_kind_never_gives_it_up(db: Database) -> None:
    task = await db.create()
    await db.change(task.id, "unknown_since = now() - interval '10 years'")
    assert isinstance(await db.leases.claim(task.id, [KIND], MINUTE), Claimed)


async def test_a_claim_ends_the_wait(db: Database) -> None:
    task = await db.create()
    assert await met(db, task) == NoHandler(KIND)
    await db.change(task.id, "available_at = now(), unknown_since = now() - interval '10 years'")
    lease = (await db.claim(task.id)).lease
    row = await db.row(task.id)
    assert row is not None
    assert row["unknown_since"] is None
    await db.leases.retry(lease, Failure("EXCEPTION", "x", retryable=True), timedelta(0))
    assert await met(db, task) == NoHandler(KIND), "a second wait, and not the end of the first"


async def test_given_up_between_attempts_it_keeps_those_it_had(db: Database) -> None:
    claimed = await db.claimed()
    await db.leases.retry(claimed.lease, Failure("EXCEPTION", "x", retryable=True), timedelta(0))
    assert await met(db, claimed.task) == NoHandler(KIND)
    found = await met(db, claimed.task, PATIENCE)
    assert isinstance(found, GivenUp)
    assert [attempt.number for attempt in found.event.attempts] == [1]
    assert (found.event.attempt, found.event.max_attempts) == (1, 3)


@pytest.mark.parametrize(
    "obstacle",
    [
        "available_at = now() + interval '1 hour'",
        "blocked = true",
        "expires_at = now() - interval '1 second'",
    ],
    ids=["not yet due", "blocked", "expired"],
)
async def test_what_may_not_begin_is_neither_put_off_nor_given_up(db: Database, obstacle: str) -> None:
    """An early duplicate must not bring forward what is to run later."""
    task = await db.create()
    await db.change(task.id, f"{obstacle}, unknown_since = now() - interval '10 years'")
    before = await everything(db, task)
    assert await db.leases.claim(task.id, OTHERS, MINUTE) == NotDue()
    assert await everything(db, task) == before


async def test_a_task_that_runs_elsewhere_is_not_given_up(db: Database) -> None:
    claimed = await db.claimed()
    await db.change(claimed.task.id, "unknown_since = now() - interval '10 years'")
    before = await everything(db, claimed.task)
    await db.leases.claim(claimed.task.id, OTHERS, MINUTE)
    assert await everything(db, claimed.task) == before


@pytest.mark.parametrize("again", ["retry", "redrive"])
async def test_run_again_it_waits_anew(db: Database, again: str) -> None:
    task = await given_up(db)
    if again == "retry":
        assert await db.control.retry(OWNER, [task.id], {})
    else:
        assert await db.leases.redrive(task.id, 0, {}) is not None
    assert await met(db, task) == NoHandler(KIND)
    assert await met(db, task, PATIENCE / 2) == NoHandler(KIND)
    assert isinstance(await met(db, task, PATIENCE / 2), GivenUp)


async def test_the_next_of_its_ordering_key_goes_on(db: Database) -> None:
    await given_up(db, ordering_key="key")
    following = await db.create(ordering_key="key")
    assert await db.dispatch.unblock() == 1
    assert [dispatch.task_id for dispatch in await db.dispatch.reserve_due(10)] == [following.id]


async def test_how_long_it_waits_is_the_workers_to_say(db: Database) -> None:
    task = await db.create()
    assert await met(db, task) == NoHandler(KIND)
    await db.change(task.id, "available_at = now()")
    hasty = PostgresLeases(db.engine, timedelta(microseconds=1))
    found = await hasty.claim(task.id, OTHERS, MINUTE)
    assert isinstance(found, GivenUp)
