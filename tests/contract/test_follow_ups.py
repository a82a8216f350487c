"""What an attempt wants to follow is stored with its COMPLETED: all of it, once, or nothing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from taskql.adapters.postgres import PostgresLeases, leases, open_engine
from taskql.adapters.postgres.tasks import insert
from taskql.errors import LeaseLost, Unavailable
from taskql.lifecycle import TaskStatus
from taskql.ports import Claimed, Created, Dispatch
from taskql.queues import Queue
from taskql.task import Failure, NewTask
from tests.contract.conftest import KIND, MINUTE, OWNER, Database, new_task

FAILURE = Failure("PERMANENT", "no", retryable=False)
LATER = datetime(2100, 1, 1, tzinfo=UTC)
NOW = timedelta(0)
LONGEST_WAIT_SECONDS = 60


def wanted() -> list[NewTask]:
    """One to be sent at once, one that waits for its turn, and one that waits for its time."""
    return [
        new_task("first", id=uuid4()),
        new_task("second", id=uuid4(), ordering_key="k"),
        new_task("third", id=uuid4(), run_at=LATER),
    ]


async def titles(db: Database) -> list[str]:
    return [row["title"] for row in await db.sql("SELECT title FROM tasks ORDER BY title")]


async def test_follow_ups_are_stored_with_the_outcome(db: Database) -> None:
    lease = (await db.claimed(title="a parent")).lease
    follow_ups = wanted()
    completion = await db.leases.complete(lease, {"x": 1}, follow_ups=follow_ups)
    assert (completion.event.id, completion.event.status) == (lease.task_id, TaskStatus.COMPLETED)
    assert completion.event.result == {"x": 1}
    assert [created.task.title for created in completion.created] == ["first", "second", "third"]
    assert [created.task.id for created in completion.created] == [task.id for task in follow_ups]
    for created in completion.created:
        assert await db.task(created.task.id) == created.task
        assert (created.task.status, created.task.attempt) == (TaskStatus.PENDING, 0)
    first = completion.created[0].task.id
    sendable = [created.dispatch for created in completion.created]
    assert sendable == [Dispatch(first, Queue.NORMAL, 0), None, None]
    row = await db.row(first)
    assert row is not None
    assert row["reserved_until"] is not None, "no sweep sends what this process has been offered"


async def test_a_follow_up_of_a_follow_up_joins_the_same_line(db: Database) -> None:
    task = await db.create(ordering_key="k")
    for _ in range(3):
        await db.dispatch.unblock()
        claim = await db.claim(task.id)
        [created] = (
            await db.leases.complete(claim.lease, None, follow_ups=[new_task(ordering_key="k")])
        ).created
        task = created.task
    assert [row["ordering_number"] for row in await db.sql("SELECT * FROM tasks ORDER BY created_at")] == [
        1, 2, 3, 4,
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["cancelled", "retried", "failed", "released", "completed", "rescued"])
async def test_whoever_lost_the_lease_stores_nothing(db: Database, how: str) -> None:
    lease = (await db.claimed(title="a parent")).lease
    match how:
        case "cancelled":
            await db.control.cancel(OWNER, lease.task_id)
        case "retried":
            await db.leases.retry(lease, FAILURE, NOW)
        case "failed":
            await db.leases.fail(lease, FAILURE)
        case "released":
            await db.leases.release(lease)
        case "completed":
            await db.leases.complete(lease, None)
        case "rescued":
            await db.expire_lease(lease.task_id)
            await db.dispatch.rescue_expired(10)
    with pytest.raises(LeaseLost):
        await db.leases.complete(lease, None, follow_ups=wanted())
    assert await titles(db) == ["a parent"]
    assert await db.value("SELECT count(*) FROM orderings") == 0


async def test_an_outcome_whose_follow_ups_cannot_be_stored_is_not_recorded(db: Database) -> None:
    claim = await db.claimed(title="a parent")
    twice = new_task("first", id=uuid4())
    with pytest.raises(DBAPIError):
        await db.leases.complete(claim.lease, None, follow_ups=[twice, twice])
    assert await titles(db) == ["a parent"]
    assert await db.task(claim.task.id) == claim.task
    assert await db.leases.held([claim.lease]) == {claim.lease}


async def test_one_who_dies_between_the_outcome_and_its_follow_ups_has_done_neither(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whoever tries again stores exactly one set."""

    async def die_first(opened: AsyncConnection, new: Sequence[NewTask]) -> dict[int, Created]:
        monkeypatch.undo()
        pid = (await opened.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
        await db.sql("SELECT pg_terminate_backend($1, 10000)", pid)
        return await insert(opened, new)

    monkeypatch.setattr(leases, "insert", die_first)
    claim = await db.claimed(title="a parent")
    follow_ups = wanted()
    with pytest.raises(Unavailable):
        await db.leases.complete(claim.lease, None, follow_ups=follow_ups)
    assert await db.task(claim.task.id) == claim.task
    assert await titles(db) == ["a parent"]
    await db.leases.complete(claim.lease, None, follow_ups=follow_ups)
    assert await titles(db) == ["a parent", "first", "second", "third"]


async def test_a_connection_that_has_carried_a_transaction_commits_alone_again(
    db: Database, database_url: str
) -> None:
    async with open_engine(database_url, 1) as engine:
        store = PostgresLeases(engine, MINUTE)
        await store.complete((await db.claimed()).lease, None, follow_ups=[new_task()])
        claim = await db.claimed()
        await store.complete(claim.lease, {"x": 1})
        assert (await db.task(claim.task.id)).result == {"x": 1}


# ---------------------------------------------------------------- races


@pytest.fixture
async def processes(db: Database, database_url: str) -> AsyncIterator[list[Database]]:
    """Workers and API processes, each with connections of its own."""
    async with AsyncExitStack() as engines:
        yield [
            Database(await engines.enter_async_context(open_engine(database_url, 10)), db.direct)
            for _ in range(2)
        ]


async def test_lines_that_are_joined_from_everywhere_at_once_deadlock_nowhere(
    db: Database, processes: list[Database]
) -> None:
    """Follow-ups for several lines in either order, batches, failures, retries and cancellations."""
    keys = ["a", "b", "c"]
    steps = 12

    def line(number: int) -> list[NewTask]:
        order = keys if number % 2 else keys[::-1]
        return [new_task(ordering_key=key) for key in order]

    async def complete(one: Database, task_id: UUID, number: int) -> None:
        claim = await one.leases.claim(task_id, [KIND], MINUTE)
        if isinstance(claim, Claimed):
            await one.leases.complete(claim.lease, None, follow_ups=line(number))

    async def fail_and_retry(one: Database, task_id: UUID) -> None:
        claim = await one.leases.claim(task_id, [KIND], MINUTE)
        if isinstance(claim, Claimed):
            await one.leases.fail(claim.lease, FAILURE)
            await one.control.retry(OWNER, [task_id], {})

    async def cancel_and_retry(one: Database, task_id: UUID) -> None:
        await one.control.cancel(OWNER, task_id)
        await one.control.retry(OWNER, [task_id], {})

    async def unblock(one: Database) -> None:
        await one.dispatch.unblock()

    free = [await db.create() for _ in range(2 * steps)]
    in_line = [await db.create(ordering_key=key) for key in keys]
    await db.dispatch.unblock()
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await asyncio.gather(
            *(complete(processes[number % 2], free[number].id, number) for number in range(2 * steps)),
            *(processes[number % 2].tasks.create(line(number)) for number in range(steps)),
            *(unblock(processes[number % 2]) for number in range(steps)),
            fail_and_retry(processes[0], in_line[0].id),
            complete(processes[1], in_line[1].id, 1),
            cancel_and_retry(processes[0], in_line[2].id),
        )
    for key in keys:
        numbers = [
            row["ordering_number"]
            for row in await db.sql("SELECT ordering_number FROM tasks WHERE ordering_key = $1", key)
        ]
        assert len(numbers) == len(set(numbers)), "no place is taken twice"
        assert len(numbers) >= 1 + 3 * steps
