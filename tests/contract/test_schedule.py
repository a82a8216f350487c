"""`run_at` and `expires_at` against a real PostgreSQL: no task begins before its time, nor after its end."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from taskql.errors import LeaseLost
from taskql.lifecycle import TaskStatus
from taskql.message import decode
from taskql.ports import Claimed, Created, Finished, NotDue
from taskql.queues import Queue, TaskPriority
from taskql.task import Failure, Task
from tests.contract.conftest import KIND, MINUTE, OWNER, Database, new_task

HOUR = timedelta(hours=1)
FAILURE = Failure("ERROR", "no", retryable=True)
PASSED = "now() - interval '1 second'"
LONGEST_WAIT_SECONDS = 60


def ahead(time: timedelta = HOUR) -> datetime:
    return datetime.now(UTC) + time


async def reserved(db: Database) -> list[UUID]:
    """What a sweep would send now."""
    return [dispatch.task_id for dispatch in await db.dispatch.reserve_due(100)]


async def row(db: Database, task_id: UUID) -> dict[str, Any]:
    found = await db.row(task_id)
    assert found is not None
    return found


async def expired(db: Database, **fields: Any) -> Task:
    """A new task whose time has passed; nobody has noticed yet."""
    task = await db.create(expires_at=ahead(), **fields)
    await db.change(task.id, f"expires_at = {PASSED}, reserved_until = NULL")
    return task


# ---------------------------------------------------------------- run_at


async def test_a_task_of_the_future_is_neither_sent_nor_claimed(db: Database) -> None:
    run_at = ahead()
    [creation] = await db.tasks.create([new_task(run_at=run_at)])
    assert isinstance(creation, Created)
    assert creation.dispatch is None
    task = creation.task
    assert (task.run_at, task.status) == (run_at, TaskStatus.PENDING)
    assert await reserved(db) == []
    assert await db.leases.claim(task.id, [KIND], MINUTE) == NotDue()
    assert (await row(db, task.id))["available_at"] == run_at
    assert await db.task(task.id) == task


async def test_a_task_runs_when_its_time_has_come(db: Database) -> None:
    task = await db.create(run_at=ahead(timedelta(milliseconds=300)))
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        while await reserved(db) != [task.id]:
            await asyncio.sleep(0.02)
    started = (await db.claim(task.id)).task.started_at
    assert started is not None
    assert task.run_at is not None
    assert started >= task.run_at


async def test_a_time_that_has_passed_means_at_once_and_takes_no_other_tasks_turn(db: Database) -> None:
    before = await db.create()
    [creation] = await db.tasks.create([new_task(run_at=ahead(-HOUR))])
    assert isinstance(creation, Created)
    assert creation.dispatch is not None
    assert creation.dispatch.task_id == creation.task.id
    first, second = await row(db, before.id), await row(db, creation.task.id)
    assert first["available_at"] < second["available_at"]
    await db.claim(creation.task.id)


async def test_a_batch_may_mix_tasks_of_now_and_later(db: Database) -> None:
    times = [None, ahead(), ahead(-HOUR), ahead(2 * HOUR)]
    creations = await db.tasks.create([new_task(run_at=time) for time in times])
    dispatches = [creation.dispatch for creation in creations if isinstance(creation, Created)]
    assert [dispatch is not None for dispatch in dispatches] == [True, False, True, False]


@pytest.mark.parametrize("time", [datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, tzinfo=UTC)])
async def test_times_far_away_are_times_like_others(db: Database, time: datetime) -> None:
    task = await db.create(run_at=time)
    assert (await db.task(task.id)).run_at == time


async def test_a_revived_task_whose_time_is_still_to_come_waits_for_it(db: Database) -> None:
    task = await db.create(run_at=ahead())
    await db.control.cancel(OWNER, task.id)
    [revived] = await db.control.retry(OWNER, [task.id], {})
    assert revived.dispatch is None
    assert (await row(db, task.id))["available_at"] == task.run_at
    assert await reserved(db) == []
    assert await db.leases.claim(task.id, [KIND], MINUTE) == NotDue()


async def test_a_revived_task_whose_time_has_passed_is_sent_at_once(db: Database) -> None:
    task = await db.create(run_at=ahead(-HOUR))
    await db.control.cancel(OWNER, task.id)
    [revived] = await db.control.retry(OWNER, [task.id], {})
    assert revived.dispatch is not None
    await db.claim(task.id)


# ---------------------------------------------------------------- queues


@pytest.mark.parametrize("priority", TaskPriority)
async def test_a_task_takes_the_queue_of_its_priority_and_keeps_it(
    db: Database, priority: TaskPriority
) -> None:
    queue = Queue[priority]
    [creation] = await db.tasks.create([new_task(priority=priority)])
    assert isinstance(creation, Created)
    assert creation.dispatch is not None
    assert creation.task.priority is priority
    assert creation.dispatch.queue is creation.task.queue is queue
    await db.leases.fail((await db.claim(creation.task.id)).lease, FAILURE)
    [letter] = await db.dispatch.reserve_dead_letters(10)
    [revived] = await db.control.retry(OWNER, [creation.task.id], {})
    assert revived.dispatch is not None
    assert (letter.queue, revived.dispatch.queue) == (queue, queue)
    assert (await row(db, creation.task.id))["queue"] == queue


# ---------------------------------------------------------------- expires_at


async def test_what_has_not_started_in_time_has_failed_with_a_dead_letter(db: Database) -> None:
    task = await expired(db, priority=TaskPriority.LOW)
    [event] = await db.dispatch.expire(10)
    found = await db.task(task.id)
    assert found.at(event) == found
    assert (found.status, found.version) == (TaskStatus.FAILED, 2)
    assert found.failure is not None
    assert (found.failure.code, found.failure.retryable) == ("EXPIRED", True)
    assert (found.attempt, found.attempts, found.started_at) == (0, (), None)
    assert found.finished_at == found.updated_at
    assert found.expires_at == task.expires_at
    assert await db.row(task.id) is None
    [letter] = await db.dispatch.reserve_dead_letters(10)
    assert (letter.task_id, letter.attempt, letter.queue) == (task.id, 0, Queue.LOW)
    assert letter.reason.startswith("EXPIRED: ")
    assert decode(str(letter.body)) == task.id
    assert await db.value("SELECT owner FROM dead_letters") == OWNER


async def test_nothing_expires_before_its_time(db: Database) -> None:
    task = await db.create(expires_at=ahead())
    await db.create()
    assert await db.dispatch.expire(10) == []
    await db.claim(task.id)


async def test_a_claim_comes_too_late_once_the_time_has_passed(db: Database) -> None:
    task = await expired(db)
    assert await db.leases.claim(task.id, [KIND], MINUTE) == NotDue()
    assert await db.task(task.id) == task
    await db.dispatch.expire(10)
    assert await db.leases.claim(task.id, [KIND], MINUTE) == Finished()


@pytest.mark.parametrize(
    "waits_for",
    [
        "available_at = now() + interval '1 hour'",
        "blocked = true, ordering_group = 'g', ordering_number = 1",
        "sent_at = now(), sends = 1",
        "reserved_until = now() + interval '5 seconds'",
    ],
    ids=["its-time", "its-turn", "a-worker", "a-relay"],
)
async def test_a_task_expires_whatever_it_waits_for(db: Database, waits_for: str) -> None:
    task = await expired(db)
    await db.change(task.id, waits_for)
    assert [event.id for event in await db.dispatch.expire(10)] == [task.id]


@pytest.mark.parametrize("then", ["runs", "retry", "release", "rescue"])
async def test_what_has_started_in_time_never_expires(db: Database, then: str) -> None:
    task = await db.create(expires_at=ahead())
    claim = await db.claim(task.id)
    if then == "retry":
        await db.leases.retry(claim.lease, FAILURE, timedelta(0))
    elif then == "release":
        await db.leases.release(claim.lease)
    elif then == "rescue":
        await db.expire_lease(task.id)
        await db.dispatch.rescue_expired(10)
    assert (await row(db, task.id))["expires_at"] is None
    assert await db.dispatch.expire(10) == []
    if then != "runs":
        claim = await db.claim(task.id)
    await db.leases.complete(claim.lease, {})


async def test_clients_see_until_when_a_task_had_time_until_it_is_retried(db: Database) -> None:
    task = await db.create(expires_at=ahead())
    claim = await db.claim(task.id)
    assert claim.task.expires_at == task.expires_at
    failed = await db.leases.fail(claim.lease, FAILURE)
    assert failed.expires_at == task.expires_at
    [revived] = await db.control.retry(OWNER, [task.id], {})
    assert revived.task.expires_at is None


@pytest.mark.parametrize("by", ["its client", "its dead letter"])
async def test_an_expired_task_that_is_revived_no_longer_expires(db: Database, by: str) -> None:
    task = await expired(db)
    await db.dispatch.expire(10)
    if by == "its client":
        [revived] = await db.control.retry(OWNER, [task.id], {})
    else:
        [letter] = await db.dispatch.reserve_dead_letters(1)
        assert letter.attempt is not None
        found = await db.leases.redrive(task.id, letter.attempt, {})
        assert found is not None
        revived = found
    assert (revived.task.expires_at, revived.task.failure) == (None, None)
    assert (await row(db, task.id))["expires_at"] is None
    assert await db.dispatch.expire(10) == []
    assert (await db.claim(task.id)).lease.attempt == 1


async def test_no_more_expire_than_asked_for_and_the_oldest_first(db: Database) -> None:
    tasks = [await expired(db) for _ in range(5)]
    for age, task in enumerate(tasks, 1):
        await db.change(task.id, f"expires_at = now() - interval '{age} minutes'")
    assert {event.id for event in await db.dispatch.expire(2)} == {tasks[4].id, tasks[3].id}
    assert len(await db.dispatch.expire(10)) == 3


async def test_expirers_at_a_time_fail_each_task_once(db: Database) -> None:
    tasks = [await expired(db) for _ in range(40)]
    batches = await asyncio.gather(*(db.dispatch.expire(10) for _ in range(8)))
    events = [event for batch in batches for event in batch] + await db.dispatch.expire(100)
    assert sorted(event.id for event in events) == sorted(task.id for task in tasks)
    assert {event.version for event in events} == {2}
    assert await db.value("SELECT count(*) FROM dead_letters") == 40


async def test_of_expiring_and_claiming_at_once_one_wins(db: Database) -> None:
    """The claim sees the task in time, and the expirer a moment later."""
    for _ in range(30):
        task = await db.create(expires_at=ahead(timedelta(milliseconds=5)))
        claim, events = await asyncio.gather(
            db.leases.claim(task.id, [KIND], MINUTE), expire_as_soon_as_it_can_be(db)
        )
        if isinstance(claim, Claimed):
            assert events == []
            await db.leases.complete(claim.lease, {})
        else:
            assert claim in (NotDue(), Finished())
            assert [event.id for event in events] == [task.id]


async def expire_as_soon_as_it_can_be(db: Database) -> list[Any]:
    while True:
        if events := await db.dispatch.expire(10):
            return list(events)
        if await db.value("SELECT count(*) = 0 FROM dispatch WHERE expires_at IS NOT NULL"):
            return []


async def test_cancelling_and_expiring_at_once_leave_one_of_the_two(db: Database) -> None:
    for _ in range(30):
        task = await expired(db)
        cancelled, events = await asyncio.gather(
            db.control.cancel(OWNER, task.id), db.dispatch.expire(10), return_exceptions=True
        )
        assert not isinstance(events, BaseException | LeaseLost)
        assert (cancelled is None) is bool(events)
        assert (await db.task(task.id)).version == 2
