"""TaskControl in real PostgreSQL: what clients do to tasks that exist, each within what its status allows."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres import PostgresControl, PostgresLeases, PostgresTasks
from taskql.errors import LeaseLost
from taskql.lifecycle import AttemptOutcome, TaskStatus
from taskql.listing import TaskFilter
from taskql.ports import Claimed, Created, Finished
from taskql.task import Failure, Lease, NewTask, Task

HOUR = timedelta(hours=1)
FAILURE = Failure("PERMANENT", "as asked", retryable=False)
MAX_ATTEMPTS = {"reverse": 5}


class Store:
    """The three ports over one engine, and shortcuts to tasks in each status."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.tasks = PostgresTasks(engine)
        self.leases = PostgresLeases(engine, HOUR)
        self.control = PostgresControl(engine)

    async def pending(self, owner: str = "ada", title: str = "a task") -> UUID:
        new = NewTask(owner=owner, kind="reverse", title=title, description=None, input={}, max_attempts=3)
        [created] = await self.tasks.create([new])
        assert isinstance(created, Created)
        return created.task.id

    async def running(self, owner: str = "ada") -> Lease:
        claim = await self.leases.claim(await self.pending(owner), ["reverse"], HOUR)
        assert isinstance(claim, Claimed)
        return claim.lease

    async def completed(self) -> UUID:
        lease = await self.running()
        await self.leases.complete(lease, {})
        return lease.task_id

    async def failed(self, owner: str = "ada") -> UUID:
        lease = await self.running(owner)
        await self.leases.fail(lease, FAILURE)
        return lease.task_id

    async def task(self, task_id: UUID, owner: str = "ada") -> Task:
        return (await self.tasks.fetch(owner, [task_id]))[task_id]

    async def retry(self, task_id: UUID, owner: str = "ada") -> Task | None:
        revived = await self.control.retry(owner, [task_id], MAX_ATTEMPTS)
        return revived[0].task if revived else None


@pytest.fixture
def store(engine: AsyncEngine) -> Store:
    return Store(engine)


async def test_a_pending_task_is_cancelled_at_once(store: Store) -> None:
    task_id = await store.pending()
    cancelled = await store.control.cancel("ada", task_id)
    assert cancelled is not None
    assert (cancelled.status, cancelled.version, cancelled.attempts) == (TaskStatus.CANCELLED, 2, ())
    assert cancelled.finished_at is not None
    assert cancelled == await store.task(task_id)
    assert await store.leases.claim(task_id, ["reverse"], HOUR) == Finished()


async def test_a_running_attempt_loses_its_lease_when_its_task_is_cancelled(store: Store) -> None:
    lease = await store.running()
    assert await store.leases.held([lease]) == {lease}
    cancelled = await store.control.cancel("ada", lease.task_id)
    assert cancelled is not None
    assert [attempt.outcome for attempt in cancelled.attempts] == [AttemptOutcome.CANCELLED]
    assert await store.leases.held([lease]) == set()
    with pytest.raises(LeaseLost):
        await store.leases.complete(lease, {})


async def test_what_is_terminal_cannot_be_cancelled(store: Store) -> None:
    task_id = await store.completed()
    before = await store.task(task_id)
    assert await store.control.cancel("ada", task_id) is None
    assert await store.task(task_id) == before


async def test_of_cancelling_and_completing_at_once_one_wins(store: Store) -> None:
    for _ in range(30):
        lease = await store.running()
        cancelled, completed = await asyncio.gather(
            store.control.cancel("ada", lease.task_id),
            store.leases.complete(lease, {}),
            return_exceptions=True,
        )
        assert (cancelled is None) is not isinstance(completed, LeaseLost)
        assert (await store.task(lease.task_id)).version == 3


async def test_a_failed_task_is_pending_again_with_fresh_attempts(store: Store) -> None:
    task_id = await store.failed()
    revived = await store.retry(task_id)
    assert revived is not None
    assert (revived.status, revived.attempt, revived.max_attempts) == (TaskStatus.PENDING, 1, 6)
    assert (revived.failure, revived.finished_at) == (None, None)
    claim = await store.leases.claim(task_id, ["reverse"], HOUR)
    assert isinstance(claim, Claimed)
    assert claim.lease.attempt == 2


async def test_a_cancelled_task_can_be_retried(store: Store) -> None:
    task_id = await store.pending()
    await store.control.cancel("ada", task_id)
    revived = await store.retry(task_id)
    assert revived is not None
    assert revived.status is TaskStatus.PENDING


async def test_what_is_not_failed_or_cancelled_cannot_be_retried(store: Store) -> None:
    for task_id in (await store.pending(), (await store.running()).task_id, await store.completed()):
        assert await store.retry(task_id) is None


async def test_of_many_retries_at_once_one_takes_effect(store: Store) -> None:
    task_id = await store.failed()
    revived = await asyncio.gather(*(store.retry(task_id) for _ in range(10)))
    assert sum(task is not None for task in revived) == 1
    assert (await store.task(task_id)).version == 4


async def test_failed_tasks_are_found_oldest_first_by_owner_and_filter(store: Store) -> None:
    mine = [await store.failed() for _ in range(3)]
    await store.failed("bob")
    await store.completed()
    assert await store.control.failed("ada", TaskFilter(), 10) == mine
    assert await store.control.failed("ada", TaskFilter(), 2) == mine[:2]
    assert await store.control.failed("ada", TaskFilter(status=[TaskStatus.PENDING]), 10) == []
    assert await store.control.failed("ada", TaskFilter(kind=["other"]), 10) == []


async def test_only_terminal_tasks_can_be_deleted(store: Store) -> None:
    finished, unfinished = await store.completed(), (await store.running()).task_id
    assert await store.control.delete("ada", finished)
    assert not await store.control.delete("ada", finished)
    assert not await store.control.delete("ada", unfinished)
    assert set(await store.tasks.fetch("ada", [finished, unfinished])) == {unfinished}


async def test_nobody_changes_somebody_else_s_task(store: Store) -> None:
    pending, failed = await store.pending(), await store.failed()
    before = await store.tasks.fetch("ada", [pending, failed])
    assert await store.control.cancel("bob", pending) is None
    assert await store.retry(failed, "bob") is None
    assert not await store.control.delete("bob", failed)
    assert await store.tasks.fetch("ada", [pending, failed]) == before
