"""Tasks of one ordering key while everything happens at once: no deadlock, no gap, no overtaking."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres import PostgresTasks, open_engine
from taskql.lifecycle import TaskStatus
from taskql.ports import Claimed, Created, Creation, Existing
from taskql.queues import Queue, ordering_group
from taskql.task import Failure, Task
from tests.contract.conftest import KIND, MINUTE, OWNER, Database, new_task
from tests.contract.plans import noted, performed, rows_read

FAILURE = Failure("PERMANENT", "no", retryable=False)
GROUP = str(ordering_group(OWNER, "k"))
LONG = "a long one"
LONGEST_WAIT_SECONDS = 60


@pytest.fixture
async def stores(db: Database, database_url: str) -> AsyncIterator[list[PostgresTasks]]:
    """Stores of several processes."""
    async with AsyncExitStack() as engines:
        yield [
            PostgresTasks(await engines.enter_async_context(open_engine(database_url, 10))) for _ in range(3)
        ]


def tasks_of(creations: list[Creation]) -> list[Task]:
    assert all(isinstance(creation, Created | Existing) for creation in creations)
    return [creation.task for creation in creations if isinstance(creation, Created | Existing)]


async def test_many_at_once_still_run_one_after_another(db: Database) -> None:
    async def create() -> None:
        for _ in range(5):
            await db.tasks.create([new_task(ordering_key="k")] * 2)

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
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await asyncio.gather(*(create() for _ in range(5)), *(work(done) for _ in range(4)))
    numbers = [
        row["ordering_number"]
        for row in await db.sql("SELECT ordering_number FROM tasks ORDER BY finished_at")
    ]
    assert numbers == list(range(1, 51))


async def test_failures_and_revivals_at_once_keep_one_at_a_time(db: Database) -> None:
    """Whoever claims a task finds that no other one runs, and that all with lower places have ended."""
    chance = random.Random(5)
    tasks = [await db.create(ordering_key="k") for _ in range(20)]
    running: set[UUID] = set()

    async def work() -> None:
        while await scalar(db, "SELECT count(*) FROM dispatch"):
            await db.dispatch.unblock([GROUP] if chance.random() < 0.5 else None)
            for dispatch in await db.dispatch.reserve_due(10):
                claim = await db.leases.claim(dispatch.task_id, [KIND], MINUTE)
                if not isinstance(claim, Claimed):
                    continue
                assert not running
                running.add(dispatch.task_id)
                before = "SELECT count(*) FROM dispatch WHERE ordering_number < :number"
                assert await scalar(db, before, number=dispatch.ordering_number) == 0
                running.clear()
                if claim.lease.attempt == 1 and chance.random() < 0.5:
                    await db.leases.fail(claim.lease, FAILURE)
                    await db.control.retry(OWNER, [dispatch.task_id], {})
                else:
                    await db.leases.complete(claim.lease, {})

    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await asyncio.gather(*(work() for _ in range(4)))
    assert {(await db.task(task.id)).status for task in tasks} == {TaskStatus.COMPLETED}


async def test_whoever_creates_a_task_later_gets_a_later_place(db: Database) -> None:
    """However many at once: what is visible has no task before it that is not."""
    seen: list[list[int]] = []

    async def look() -> None:
        while len(seen) < 30:
            async with db.engine.connect() as opened:
                rows = await opened.execute(text("SELECT ordering_number FROM dispatch ORDER BY 1"))
                seen.append(list(rows.scalars()))

    async def create() -> None:
        while len(seen) < 30:
            await db.create(ordering_key="k")

    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await asyncio.gather(look(), *(create() for _ in range(5)))
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen)


# ---------------------------------------------------------------- deadlocks


async def test_batches_with_ordering_keys_in_crossing_order_do_not_deadlock(
    db: Database, stores: list[PostgresTasks], caplog: pytest.LogCaptureFixture
) -> None:
    """Nor do idempotency keys in yet another order change that."""
    for round in range(30):
        names = [f"{round}-{number}" for number in range(8)]
        wanted = [
            new_task(name, key=name, ordering_key=other)
            for name, other in zip(names, names[::-1], strict=True)
        ]
        orders = (wanted, wanted[::-1], wanted[4:] + wanted[:4])
        batches = await asyncio.gather(
            *(store.create(order) for store, order in zip(stores, orders, strict=True))
        )
        for order, batch in zip(orders, batches, strict=True):
            assert [task.title for task in tasks_of(batch)] == [new.title for new in order]
        assert sum(isinstance(each, Created) for batch in batches for each in batch) == len(wanted)
    assert caplog.text == ""  # a batch that was refused would be stored one by one, and nobody would notice


@pytest.mark.parametrize("contested", ["orderings", "tasks"])
async def test_batches_that_meet_in_the_middle_do_not_deadlock(
    db: Database, stores: list[PostgresTasks], caplog: pytest.LogCaptureFixture, contested: str
) -> None:
    """All stop at a key that somebody is about to take: none may hold what another one needs next."""
    names = list("abcdefg")
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        transaction = db.direct.transaction()
        await transaction.start()
        if contested == "orderings":
            await db.sql("INSERT INTO orderings (name, number) VALUES ($1, 1)", ordering_group(OWNER, "d"))
        else:
            await db.sql(
                "INSERT INTO tasks (owner, kind, title, input, max_attempts, idempotency_key, request_hash) "
                "VALUES ($1, $2, 'x', '{}', 3, 'd', '')",
                OWNER,
                KIND,
            )
        orders = (names, names[::-1], names[3:] + names[:3])
        batches = [
            asyncio.create_task(store.create([new_task(name, key=name, ordering_key=name) for name in order]))
            for store, order in zip(stores, orders, strict=True)
        ]
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while await scalar(db, waiting) < len(batches):
            await asyncio.sleep(0.01)
        await transaction.rollback()
        outcomes = [outcome for batch in await asyncio.gather(*batches) for outcome in batch]
    assert sum(isinstance(outcome, Created) for outcome in outcomes) == len(names)
    assert sum(isinstance(outcome, Existing) for outcome in outcomes) == 2 * len(names)
    assert caplog.text == ""


async def test_creating_reviving_and_forgetting_at_once_do_not_deadlock(
    db: Database, stores: list[PostgresTasks], caplog: pytest.LogCaptureFixture
) -> None:
    keys = list("abcdef")
    over = tasks_of(await db.tasks.create([new_task(key=key, ordering_key=key) for key in keys]))
    for task in over:
        await db.control.cancel(OWNER, task.id)
    ids = [task.id for task in over]

    async def revive(order: list[UUID]) -> None:
        for _ in range(15):
            for revived in await db.control.retry(OWNER, order, {}):
                await db.control.cancel(OWNER, revived.task.id)

    async def create(store: PostgresTasks, order: list[str]) -> None:
        for _ in range(15):
            tasks_of(await store.create([new_task(ordering_key=key) for key in order]))
            tasks_of(await store.create([new_task(key=key, ordering_key=key) for key in order]))

    async def forget() -> None:
        for _ in range(15):
            await db.dispatch.forget_orderings(timedelta(0))
            await db.dispatch.unblock()

    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await asyncio.gather(
            revive(ids), revive(ids[::-1]), create(stores[0], keys), create(stores[1], keys[::-1]), forget()
        )
    assert caplog.text == ""


# ---------------------------------------------------------------- at any length


async def test_long_queues_and_many_groups_cost_no_more_than_a_look_at_each_group(
    db: Database, engine: AsyncEngine
) -> None:
    groups, waiting, ended, due = 2_000, 10_000, 50, 7
    with noted(engine) as made:
        await db.dispatch.unblock()
        await db.dispatch.unblock([LONG, "short 3"])
        await db.dispatch.reserve_due(500)
        await db.dispatch.expire(500)
    await db.sql(
        "WITH stored AS (INSERT INTO tasks (owner, kind, title, input, max_attempts) "
        "SELECT $1, $2, 'x', '{}', 3 FROM generate_series(1, $3 + 2 * $4) RETURNING id), "
        "numbered AS (SELECT id, row_number() OVER (ORDER BY id) AS n FROM stored) "
        "INSERT INTO dispatch (task_id, queue, ordering_number, blocked, sent_at, ordering_group) "
        "SELECT id, 'fifo', n, n NOT IN (1) AND (n <= $3 OR n % 2 = 0), "
        "CASE WHEN n = 1 OR n > $3 AND n % 2 = 1 THEN now() END, "
        "CASE WHEN n <= $3 THEN $5 ELSE 'short ' || (n - $3 + 1) / 2 END FROM numbered",
        OWNER,
        KIND,
        waiting,
        groups,
        LONG,
    )
    firsts = (
        "SELECT task_id FROM dispatch WHERE NOT blocked AND ordering_group <> $2 ORDER BY task_id LIMIT $1"
    )
    await db.sql(f"DELETE FROM dispatch WHERE task_id IN ({firsts})", ended, LONG)
    await db.sql(f"UPDATE dispatch SET sent_at = NULL WHERE task_id IN ({firsts})", due, LONG)
    await db.sql(
        "UPDATE dispatch SET expires_at = now() WHERE task_id IN (SELECT task_id FROM dispatch LIMIT $1)", due
    )
    await db.sql("VACUUM ANALYZE tasks, dispatch")

    unblock, unblock_two, reserve, expire = [await performed(db, statement) for statement in made]
    assert rows_read(unblock) <= 2 * (groups + 2) + 4 * ended
    assert rows_read(unblock_two) <= 2 * 4
    assert rows_read(reserve) <= 2 * due
    assert rows_read(expire) <= 4 * due
    assert await db.dispatch.unblock() == ended
    assert len(await db.dispatch.reserve_due(500)) == ended + due


async def scalar(db: Database, query: str, **values: Any) -> Any:
    """By a connection of its own: others may be at work on the test's."""
    async with db.engine.connect() as opened:
        return await opened.scalar(text(query), values)
