"""What has changed: newer versions, changes since a moment, and the moment before which nothing changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import reduce
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres import listings
from taskql.adapters.postgres import tasks as module
from taskql.adapters.postgres.engine import APPLICATION
from taskql.listing import PageRequest, TaskFilter
from taskql.task import Failure, Progress, Task
from tests.contract.conftest import MINUTE, OWNER, Database
from tests.contract.plans import indexes, noted, performed, root, rows_read

NO = Failure("PERMANENT", "no", retryable=False)
LONG_AGO = datetime.fromisoformat("2020-01-01T00:00:00Z")
SECOND = timedelta(seconds=1)


# ---------------------------------------------------------------- newer


async def test_newer_answers_the_tasks_that_have_moved_on_and_those_that_are_gone(db: Database) -> None:
    same, moved, ahead, gone = [await db.create(str(number)) for number in range(4)]
    claimed = await db.claim(moved.id)
    await db.sql("DELETE FROM tasks WHERE id = $1", gone.id)
    never = uuid4()
    found = await db.tasks.newer({same.id: 1, moved.id: 1, ahead.id: 7, gone.id: 1, never: 0})
    assert found.tasks == [claimed.task]
    assert set(found.gone) == {gone.id, never}


async def test_newer_than_nothing_is_nothing(db: Database) -> None:
    await db.create()
    found = await db.tasks.newer({})
    assert (list(found.tasks), list(found.gone)) == ([], [])


async def test_thousands_of_tasks_are_one_question_by_the_primary_key(
    db: Database, engine: AsyncEngine
) -> None:
    await many_finished(db, 30_000)
    ids = [row["id"] for row in await db.sql("SELECT id FROM tasks ORDER BY random() LIMIT 5000")]
    known = dict.fromkeys(ids, 1) | dict.fromkeys(ids[:3], 0) | {uuid4(): 1 for _ in range(5)}
    with noted(engine) as made:
        found = await db.tasks.newer(known)
    assert {task.id for task in found.tasks} == set(ids[:3])
    assert len(found.gone) == 5
    [statement] = made
    plan = await performed(db, statement)
    assert indexes(plan) == {"tasks_pkey"}
    assert rows_read(plan) <= len(known)


# ---------------------------------------------------------------- changed since


async def test_changes_of_every_sort_are_found_in_their_order(db: Database) -> None:
    untouched, cancelled, done, failed, retried, moved = [await db.create(str(n)) for n in range(6)]
    moment = await db.value("SELECT clock_timestamp()")
    changed = [
        await db.control.cancel(OWNER, cancelled.id),
        (await db.leases.complete((await db.claim(done.id)).lease, {})).event,
        await db.leases.fail((await db.claim(failed.id)).lease, NO),
        await db.leases.retry((await db.claim(retried.id)).lease, NO, MINUTE),
        await db.leases.progress((await db.claim(moved.id)).lease, Progress(0.5)),
        await db.create("new"),
    ]
    await db.create("theirs", owner="bob")
    found = await db.tasks.changed_since(OWNER, moment, 100)
    assert found == [await db.task(event.id) for event in changed if event]
    assert untouched not in found
    assert await db.tasks.changed_since(OWNER, found[-1].updated_at, 100) == []
    assert await db.tasks.changed_since(OWNER, found[2].updated_at, 2) == found[3:5]


async def test_what_changed_at_one_moment_is_never_torn_apart(db: Database) -> None:
    tasks = [await db.create(str(number)) for number in range(6)]
    moment = await db.value("SELECT now()")
    for number, task in enumerate(tasks):
        await dated(db, task, moment + SECOND * (number // 3))
    first = await db.tasks.changed_since(OWNER, LONG_AGO, 2)
    assert {task.title for task in first} == {"0", "1", "2"}
    second = await db.tasks.changed_since(OWNER, first[-1].updated_at, 2)
    assert {task.title for task in second} == {"3", "4", "5"}


async def test_a_finished_task_last_changed_when_it_ended(db: Database) -> None:
    """On this rests that changes are found without an index on `updated_at`."""
    await db.control.cancel(OWNER, (await db.create()).id)
    await db.control.cancel(OWNER, (await db.claimed()).task.id)
    await db.leases.complete((await db.claimed()).lease, {})
    await db.leases.fail((await db.claimed()).lease, NO)
    await db.create(expires_at=LONG_AGO)
    await db.dispatch.expire(10)
    await db.expire_lease((await db.claimed(max_attempts=1)).task.id)
    await db.dispatch.rescue_expired(10)
    rows = await db.sql("SELECT updated_at = finished_at AS same, outcome IS NOT NULL AS ended FROM tasks")
    assert [dict(row) for row in rows] == [{"same": True, "ended": True}] * 6


async def dated(db: Database, task: Task, moment: datetime) -> None:
    await db.change(task.id, "lease_expires_at = now()")
    await db.sql("UPDATE tasks SET updated_at = $2, version = version + 1, status = 'PROCESSING', "
                 "attempt = attempt + 1 WHERE id = $1", task.id, moment)  # fmt: skip


# ---------------------------------------------------------------- plans


async def many_finished(db: Database, count: int, owners: int = 1) -> None:
    """Tasks that ended one second after the other, the last one now, and a few that have yet to end."""
    await db.sql(
        "INSERT INTO tasks (owner, kind, title, input, max_attempts, status, outcome, "
        "                   created_at, updated_at, finished_at) "
        "SELECT $1 || CASE WHEN n % $3 = 0 THEN '' ELSE (n % $3)::text END, 'reverse', 'x', '{}', 3, "
        "'COMPLETED', 'COMPLETED', at, at, at "
        "FROM (SELECT n, now() - n * interval '1 second' AS at FROM generate_series(1, $2::int) n) AS given",
        OWNER,
        count,
        owners,
    )
    for _ in range(3):
        await db.create()
    await db.sql("VACUUM ANALYZE tasks")


RECENT_SECONDS = 600
FITTING = {
    "tasks_unfinished",
    "tasks_finished",
    "tasks_retention",
    "tasks_pkey",
    "dispatch_leased",
    "dispatch_returned",
}
"""`tasks_retention` serves where all tasks are of one owner, the key for what a dispatch row tells of."""


@pytest.mark.parametrize("owners", [1, 20])
@pytest.mark.parametrize("query", [module.CHANGED_SINCE, listings.CHANGED_IDS], ids=["tasks", "ids"])
@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
async def test_recent_changes_are_found_by_the_partial_indexes(
    db: Database, owners: int, query: Any, plans: str
) -> None:
    await many_finished(db, 20_000, owners)
    moment = await db.value(f"SELECT now() - interval '{RECENT_SECONDS} seconds'")
    places = {":owner": "$1", ":moment": "$2", ":limit": "$3"}
    statement = reduce(lambda text, name: text.replace(name, places[name]), places, str(query))
    async with rolled_back(db):
        await db.sql(f"SET LOCAL plan_cache_mode = {plans}")
        await db.sql(f"PREPARE of_the_test (text, timestamptz, bigint) AS {statement}")
        plan = root(
            await db.value(
                f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE of_the_test ('{OWNER}', '{moment}', 1000)"
            )
        )
        await db.sql("DEALLOCATE of_the_test")
    assert indexes(plan) <= FITTING
    assert rows_read(plan) <= RECENT_SECONDS + 10


@asynccontextmanager
async def rolled_back(db: Database) -> AsyncIterator[None]:
    transaction = db.direct.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("owners", [1, 20])
async def test_a_listing_of_recent_changes_reads_none_of_the_older_ones(
    db: Database, engine: AsyncEngine, owners: int, descending: bool
) -> None:
    await many_finished(db, 20_000, owners)
    moment = await db.value(f"SELECT now() - interval '{RECENT_SECONDS} seconds'")
    filter = TaskFilter(updated_after=moment)
    with noted(engine) as made:
        for _ in range(10):  # PostgreSQL plans in general for what is asked often, if it finds that as good
            await db.listings.page(OWNER, filter, PageRequest(limit=20, descending=descending))
        assert await db.listings.count(OWNER, filter, 10_001) <= RECENT_SECONDS / owners + 5
    for statement in made[-4:]:
        plan = await performed(db, statement)
        assert indexes(plan) <= FITTING
        assert rows_read(plan) <= RECENT_SECONDS + 10


async def test_a_listing_of_more_changes_than_are_looked_up_has_them_all(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "MAX_CHANGED", 5)
    tasks = [await db.create(str(number)) for number in range(12)]
    for since, tail in ((tasks[3], tasks[4:]), (tasks[8], tasks[9:])):
        filter = TaskFilter(updated_after=since.updated_at)
        page = await db.listings.page(OWNER, filter, PageRequest(limit=100, descending=False))
        assert list(page.tasks) == tail
        assert await db.listings.count(OWNER, filter, 100) == len(tail)


async def test_a_listing_of_all_changes_there_are_is_no_slower_than_the_whole_listing(
    db: Database, engine: AsyncEngine
) -> None:
    await many_finished(db, 20_000)
    with noted(engine) as made:
        await db.listings.page(OWNER, TaskFilter(updated_after=LONG_AGO), PageRequest(limit=20))
    plan = await performed(db, made[-1])
    assert indexes(plan) == {"tasks_listing"}
    assert rows_read(plan) <= 30


async def test_the_extreme_moments_are_compared_too(db: Database) -> None:
    await db.create("x")
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    assert await db.listings.count(OWNER, TaskFilter(updated_after=first), 9) == 1
    assert await db.listings.count(OWNER, TaskFilter(updated_after=last), 9) == 0


# ---------------------------------------------------------------- as of


@asynccontextmanager
async def transaction(database_url: str, name: str = APPLICATION) -> AsyncIterator[asyncpg.Connection]:
    """One of ours that takes its time, committed at the end."""
    connection = await asyncpg.connect(database_url, server_settings={"application_name": name})
    try:
        async with connection.transaction():
            await connection.fetchval("SELECT 1")
            yield connection
    finally:
        await connection.close()


async def test_as_of_is_shortly_before_now(db: Database) -> None:
    before = await db.value("SELECT clock_timestamp()")
    found = await db.tasks.as_of()
    after = await db.value("SELECT clock_timestamp()")
    assert before - SECOND <= found <= after - SECOND


async def test_as_of_is_no_later_than_the_start_of_any_transaction_of_ours(
    db: Database, database_url: str
) -> None:
    async with transaction(database_url) as running:
        started = await running.fetchval("SELECT now()")
        await db.sql("SELECT pg_sleep(0.01)")
        assert await db.tasks.as_of() == started - SECOND
    assert await db.tasks.as_of() > started - SECOND


async def test_somebody_elses_long_transaction_holds_nothing_up(db: Database, database_url: str) -> None:
    async with transaction(database_url, "a backup") as running:
        started = await running.fetchval("SELECT now()")
        await db.sql("SELECT pg_sleep(0.01)")
        assert await db.tasks.as_of() > started - SECOND


async def test_our_connections_say_who_they_are(db: Database) -> None:
    await db.create()
    names = await db.sql(
        "SELECT DISTINCT application_name FROM pg_stat_activity "
        "WHERE query LIKE '%items AS MATERIALIZED%' AND pid <> pg_backend_pid()"
    )
    assert [row["application_name"] for row in names] == [APPLICATION]


# ---------------------------------------------------------------- clients that were away


class Client:
    """Knows the newest version of each task that its listings told it; `moment` says from when on to ask."""

    def __init__(self, db: Database, moment: Any) -> None:
        self._db = db
        self._moment = moment
        self._since = LONG_AGO
        self.known: dict[UUID, int] = {}

    async def catch_up(self) -> None:
        since = await self._moment()
        filter = TaskFilter(updated_after=self._since)
        request = PageRequest(limit=100, descending=False)
        page = await self._db.listings.page(OWNER, filter, request)
        assert not page.has_next
        self.known |= {task.id: task.version for task in page.tasks}
        self._since = since


async def late_writes(database_url: str, ids: list[UUID], seed: int, rounds: int) -> None:
    """Changes as our statements make them, but for the time between the change and its commit."""
    random = Random(seed)
    for _ in range(rounds):
        async with transaction(database_url) as running:
            id = random.choice(ids)
            await running.execute("UPDATE dispatch SET lease_expires_at = now() WHERE task_id = $1", id)
            await running.execute(
                "UPDATE tasks SET updated_at = clock_timestamp(), version = version + 1, "
                "status = 'PROCESSING', attempt = attempt + (status = 'PENDING')::int WHERE id = $1",
                id,
            )
            await asyncio.sleep(random.random() * 0.03)


async def missed(db: Database, database_url: str, moment: Any) -> int:
    """How many tasks a client that polls has wrong after all is over."""
    groups = [[(await db.create()).id for _ in range(3)] for _ in range(6)]
    client = Client(db, moment)
    writers = asyncio.gather(*(late_writes(database_url, ids, n, 25) for n, ids in enumerate(groups)))
    while not writers.done():
        await client.catch_up()
    await writers
    await client.catch_up()
    rows = await db.sql("SELECT id, version FROM tasks")
    return sum(client.known.get(row["id"]) != row["version"] for row in rows)


async def test_a_client_that_asks_from_as_of_on_misses_no_change(db: Database, database_url: str) -> None:
    assert await missed(db, database_url, db.tasks.as_of) == 0


async def test_a_client_that_asked_from_now_on_would_miss_some(db: Database, database_url: str) -> None:
    async def mutant() -> Any:
        return await db.value("SELECT now()")

    assert await missed(db, database_url, mutant) > 0
