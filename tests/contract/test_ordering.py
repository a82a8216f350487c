"""Tasks of one ordering key, against a real PostgreSQL: one after another, whatever happens at once."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest

from taskql.ports import Claimed, NotDue
from taskql.queues import Queue, ordering_group
from taskql.task import Failure, Task
from tests.contract.conftest import KIND, MINUTE, OWNER, Database

FAILURE = Failure("PERMANENT", "no", retryable=False)


async def ordered(db: Database, count: int, key: str = "k") -> list[Task]:
    return [await db.create(f"task {number}", ordering_key=key) for number in range(count)]


async def sendable(db: Database) -> list[UUID]:
    """What a sweep would send now."""
    await db.dispatch.unblock()
    return [dispatch.task_id for dispatch in await db.dispatch.reserve_due(100)]


async def test_the_database_names_a_group_as_the_code_does(db: Database) -> None:
    task = await db.create(ordering_key="für 🚀", owner="lovelace:1")
    row = await db.row(task.id)
    assert row is not None
    assert row["ordering_group"] == task.ordering_group == ordering_group("lovelace:1", "für 🚀")
    await db.control.cancel("lovelace:1", task.id)
    await db.control.retry("lovelace:1", [task.id], {})
    again = await db.row(task.id)
    assert again is not None
    assert again["ordering_group"] == task.ordering_group


async def test_of_a_key_only_the_first_is_sent(db: Database) -> None:
    first, *_ = await ordered(db, 3)
    other, *_ = await ordered(db, 2, key="other")
    assert set(await sendable(db)) == {first.id, other.id}
    assert await sendable(db) == []


async def test_a_blocked_task_is_not_claimed(db: Database) -> None:
    first, second = await ordered(db, 2)
    assert isinstance(await db.leases.claim(second.id, [KIND], MINUTE), NotDue)
    assert isinstance(await db.leases.claim(first.id, [KIND], MINUTE), NotDue)
    await db.dispatch.unblock()
    assert isinstance(await db.leases.claim(first.id, [KIND], MINUTE), Claimed)
    assert isinstance(await db.leases.claim(second.id, [KIND], MINUTE), NotDue)


@pytest.mark.parametrize("end", ["complete", "fail", "cancel", "expire", "lose"])
async def test_the_next_goes_when_the_first_has_ended(db: Database, end: str) -> None:
    first, second, third = await ordered(db, 3)
    await db.dispatch.unblock([str(first.ordering_group)])
    if end in ("complete", "fail", "lose"):
        lease = (await db.claim(first.id)).lease
        assert await sendable(db) == []
        if end == "complete":
            await db.leases.complete(lease, {})
        elif end == "fail":
            await db.leases.fail(lease, FAILURE)
        else:
            for _ in range(2):
                await db.expire_lease(first.id)
                await db.dispatch.rescue_expired(10)
                lease = (await db.claim(first.id)).lease
            await db.expire_lease(first.id)
            await db.dispatch.rescue_expired(10)
    elif end == "cancel":
        await db.control.cancel(OWNER, first.id)
    else:
        await db.change(first.id, "expires_at = now() - interval '1 second'")
        await db.dispatch.expire(10)
    assert (await db.task(first.id)).status.is_terminal
    assert await sendable(db) == [second.id]
    assert (await db.row(third.id) or {})["blocked"]


async def test_a_retry_holds_the_key_and_a_revived_task_joins_the_end(db: Database) -> None:
    first, second = await ordered(db, 2)
    await db.dispatch.unblock()
    lease = (await db.claim(first.id)).lease
    await db.leases.retry(lease, FAILURE, timedelta(0))
    assert await sendable(db) == [first.id]
    await db.leases.fail((await db.claim(first.id)).lease, FAILURE)
    [revived] = await db.control.retry(OWNER, [first.id], {})
    assert revived.dispatch is None
    assert await sendable(db) == [second.id]
    await db.leases.complete((await db.claim(second.id)).lease, {})
    assert await sendable(db) == [first.id]


async def test_many_at_once_still_run_one_after_another(db: Database) -> None:
    async def create() -> list[Task]:
        return await ordered(db, 10)

    async def work(done: list[UUID]) -> None:
        while len(done) < 50:
            await db.dispatch.unblock()
            for dispatch in await db.dispatch.reserve_due(10):
                assert dispatch.queue is Queue.FIFO
                claim = await db.leases.claim(dispatch.task_id, [KIND], MINUTE)
                if isinstance(claim, Claimed):
                    await db.leases.complete(claim.lease, {})
                    done.append(dispatch.task_id)

    done: list[UUID] = []
    async with asyncio.timeout(30):
        await asyncio.gather(*(create() for _ in range(5)), *(work(done) for _ in range(4)))
    numbers = [
        row["ordering_number"]
        for row in await db.sql("SELECT ordering_number FROM tasks ORDER BY finished_at, id")
    ]
    assert numbers == sorted(numbers) == list(range(1, 51))
