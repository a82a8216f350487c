"""Many claims and outcomes at a time: each as if it had come alone."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from taskql.errors import LeaseLost, Unavailable
from taskql.lifecycle import TaskStatus
from taskql.ports import Claimed, Completion, Finished, LeasedElsewhere, NoHandler, NotDue, Success, Unknown
from taskql.task import Lease
from tests.contract.conftest import KIND, MINUTE, Database

LONGEST_WAIT_SECONDS = 60


async def test_each_claim_of_many_has_its_own_answer(db: Database) -> None:
    free, twice, early, strange = [await db.create() for _ in range(3)] + [await db.create(kind="compute")]
    taken, done = [(await db.claimed()).lease for _ in range(2)]
    await db.leases.complete(done, None)
    await db.change(early.id, "available_at = now() + interval '1 hour'")
    ids = [free.id, twice.id, taken.task_id, done.task_id, early.id, strange.id, uuid4(), twice.id]
    claims = await db.batches.claim_many(ids, [KIND], MINUTE)
    kinds = [Claimed, Claimed, LeasedElsewhere, Finished, NotDue, NoHandler, Unknown, LeasedElsewhere]
    assert [type(claim) for claim in claims] == kinds
    for claim, task in zip(claims, (free, twice), strict=False):
        assert isinstance(claim, Claimed)
        assert claim.lease == Lease(task.id, 1)
        assert claim.task == await db.task(task.id)


async def test_each_outcome_of_many_is_fenced_by_its_own_lease(db: Database) -> None:
    fine, kept = await db.claimed(), await db.claimed()
    stale = (await db.claimed()).lease
    await db.expire_lease(stale.task_id)
    await db.dispatch.rescue_expired(10)
    again = await db.claim(stale.task_id)
    gone = Lease(uuid4(), 1)
    outcomes = await db.batches.complete_many(
        [
            Success(stale, "stale"),
            Success(fine.lease, {"n": 1}),
            Success(gone, None),
            Success(again.lease, "again"),
            Success(kept.lease, None, "where/it/is"),
        ]
    )
    assert [type(outcome) for outcome in outcomes] == [
        LeaseLost,
        Completion,
        LeaseLost,
        Completion,
        Completion,
    ]
    for lease, result in ((fine.lease, {"n": 1}), (again.lease, "again"), (kept.lease, None)):
        task = await db.task(lease.task_id)
        assert (task.status, task.result, task.attempt) == (TaskStatus.COMPLETED, result, lease.attempt)
        assert await db.row(lease.task_id) is None
    assert (await db.task(kept.lease.task_id)).result_location == "where/it/is"


@pytest.mark.parametrize("poison", ["\ud800", "a" + "\x00"])
async def test_a_result_that_cannot_be_stored_fails_no_other(db: Database, poison: str) -> None:
    """A lone surrogate is no text to PostgreSQL; a NUL in a location neither."""
    good, bad, last = [(await db.claimed()).lease for _ in range(3)]
    outcomes = await db.batches.complete_many(
        [Success(good, 1), Success(bad, None, poison), Success(last, 3)]
    )
    assert [type(outcome) for outcome in outcomes[::2]] == [Completion, Completion]
    assert isinstance(outcomes[1], Exception)
    assert not isinstance(outcomes[1], LeaseLost | Unavailable)
    assert (await db.task(bad.task_id)).status is TaskStatus.PROCESSING


async def test_claims_and_outcomes_in_any_order_from_everywhere_deadlock_nowhere(db: Database) -> None:
    tasks = [await db.create() for _ in range(40)]

    async def worker(step: int) -> None:
        ids = [task.id for task in tasks[::step]]
        claims = await db.batches.claim_many(ids, [KIND], MINUTE)
        leases = [claim.lease for claim in claims if isinstance(claim, Claimed)]
        outcomes = await db.batches.complete_many([Success(lease, None) for lease in leases])
        assert all(isinstance(outcome, Completion) for outcome in outcomes)

    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await asyncio.gather(*(worker(step) for step in (1, -1, 2, -2, 3, -3)))
    assert await db.value("SELECT count(*) FROM tasks WHERE outcome = 'COMPLETED'") == len(tasks)
    assert await db.value("SELECT count(*) FROM tasks WHERE attempt = 1") == len(tasks)


async def test_claims_that_come_together_with_different_wishes_have_them_all(db: Database) -> None:
    one, other, third = await db.create(), await db.create(), await db.create(kind="compute")
    hour = timedelta(hours=1)
    claims = await asyncio.gather(
        *(db.leases.claim(uuid4(), [KIND], MINUTE) for _ in range(2)),
        db.leases.claim(one.id, [KIND], MINUTE),
        db.leases.claim(other.id, [KIND], hour),
        db.leases.claim(third.id, [KIND, "compute"], MINUTE),
    )
    assert [type(claim) for claim in claims] == [Unknown, Unknown, Claimed, Claimed, Claimed]
    left = await db.value("SELECT lease_expires_at - now() FROM dispatch WHERE task_id = $1", other.id)
    assert left > MINUTE


async def test_a_connection_that_broke_in_the_pool_is_made_anew(db: Database) -> None:
    task = await db.create()
    await db.leases.claim(uuid4(), [KIND], MINUTE)
    await db.sql(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        while True:
            try:
                claim = await db.leases.claim(task.id, [KIND], MINUTE)
                break
            except Unavailable:  # what broke at the very moment
                continue
    assert isinstance(claim, Claimed)
