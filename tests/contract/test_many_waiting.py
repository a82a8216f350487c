"""What upkeep does every second, and what clients ask for live, reads few rows however many tasks wait."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.lifecycle import TaskStatus
from taskql.listing import PageRequest, TaskFilter
from tests.contract.conftest import KIND, MINUTE, OWNER, Database
from tests.contract.plans import Statement, noted, performed, rows_read

WAITING = 10_000
RUNNING = 20
SINCE = datetime(2026, 11, 1, tzinfo=UTC)
"""All that waits is older."""
RUNNING_NOW = TaskFilter(status=[TaskStatus.PROCESSING])

FILL = """
WITH stored AS (
    INSERT INTO tasks (owner, kind, title, input, max_attempts, created_at, updated_at)
    SELECT $1, $2, 'x', '{}', 3, at, at
    FROM (SELECT timestamptz '2026-10-01Z' + n * interval '1 second' AS at FROM generate_series(1, $3) n)
    RETURNING id, created_at
)
INSERT INTO dispatch (task_id, queue, available_at, sent_at, sends)
SELECT id, (ARRAY['high', 'normal', 'low'])[1 + row_number() OVER () % 3], created_at, created_at, 1
FROM stored
"""

RUN = """
WITH mine AS (
    UPDATE dispatch SET attempt = 1, lease_expires_at = now() + interval '1 minute'
    WHERE task_id IN (SELECT task_id FROM dispatch ORDER BY random() LIMIT $1) RETURNING task_id
)
UPDATE tasks SET status = 'PROCESSING', attempt = 1, version = 2, updated_at = now(),
    attempts = '[{"number": 1, "started_at": "2026-11-01T00:00:00Z"}]'
WHERE id IN (SELECT task_id FROM mine)
"""


async def crowd(db: Database) -> None:
    """Many tasks wait in slow queues, and a few run."""
    await db.sql(FILL, OWNER, KIND, WAITING)
    await db.sql(RUN, RUNNING)
    await db.sql(
        "INSERT INTO watermarks SELECT unnest(ARRAY['high', 'normal', 'low']), timestamptz '2026-10-01Z'"
    )
    await db.sql(
        "INSERT INTO dead_letters (reason, queue, sent_at) "
        "SELECT 'x', 'normal', now() FROM generate_series(1, $1)", WAITING,
    )  # fmt: skip
    await db.sql(
        "INSERT INTO discarded_results SELECT gen_random_uuid(), 'there' FROM generate_series(1, $1)", WAITING
    )
    await db.sql("VACUUM ANALYZE tasks, dispatch, dead_letters, discarded_results")


UPKEEP: dict[str, Callable[[Database], Any]] = {
    "send": lambda db: db.dispatch.reserve_due(500),
    "unblock": lambda db: db.dispatch.unblock(),
    "rescue": lambda db: db.dispatch.rescue_expired(100),
    "resend": lambda db: db.dispatch.resend_lost(MINUTE, 100),
    "ask queues": lambda db: db.dispatch.silent_queues(MINUTE),
    "expire": lambda db: db.dispatch.expire(500),
    "send letters": lambda db: db.dispatch.reserve_dead_letters(10),
    "forget": lambda db: db.dispatch.forget_older(timedelta(days=30), 500),
    "discard results": lambda db: db.discarded.reserve(20),
}

LIVE: dict[str, Callable[[Database], Any]] = {
    "running": lambda db: db.listings.page(OWNER, RUNNING_NOW, PageRequest(limit=20)),
    "everybody's running": lambda db: db.listings.page(None, RUNNING_NOW, PageRequest(limit=20)),
    "count running": lambda db: db.listings.count(OWNER, RUNNING_NOW, 10_001),
    "changed": lambda db: db.listings.page(OWNER, TaskFilter(updated_after=SINCE), PageRequest(limit=20)),
    "look of a feed": lambda db: db.tasks.changed_since(OWNER, SINCE, 100),
}


async def rows_of(db: Database, made: Mapping[str, Sequence[Statement]]) -> dict[str, int]:
    """How many rows each reads of the tables."""
    return {
        what: sum([rows_read(await performed(db, statement)) for statement in statements])
        for what, statements in made.items()
    }


async def asked(
    db: Database, engine: AsyncEngine, questions: Mapping[str, Callable[[Database], Any]]
) -> dict[str, Sequence[Statement]]:
    """The statements that each is made of."""
    found: dict[str, Sequence[Statement]] = {}
    for what, ask in questions.items():
        with noted(engine) as made:
            await ask(db)
        found[what] = made
    return found


async def test_upkeep_among_many_waiting_tasks_reads_no_more_than_it_changes(
    db: Database, engine: AsyncEngine
) -> None:
    made = await asked(db, engine, UPKEEP)  # while there is nothing to change
    await crowd(db)
    found = await rows_of(db, made)
    assert {what: rows for what, rows in found.items() if rows > 4 * RUNNING} == {}


async def test_what_is_live_among_many_waiting_tasks_is_found_by_their_dispatch_rows(
    db: Database, engine: AsyncEngine
) -> None:
    await crowd(db)
    found = await rows_of(db, await asked(db, engine, LIVE))
    assert {what: rows for what, rows in found.items() if rows > 4 * RUNNING} == {}


async def test_among_many_waiting_tasks_upkeep_still_finds_what_it_is_for(db: Database) -> None:
    await crowd(db)
    assert await db.dispatch.resend_lost(MINUTE, 100) == 0
    await db.sql("UPDATE watermarks SET sent_at = timestamptz '2026-10-01 00:02:00Z' WHERE queue = 'low'")
    lost = await db.value(
        "SELECT count(*) FROM dispatch "
        "WHERE queue = 'low' AND NOT leased AND sent_at < '2026-10-01 00:01:00Z'"
    )
    assert await db.dispatch.resend_lost(MINUTE, 100) == lost > 10
    await db.sql("UPDATE dispatch SET lease_expires_at = now() - interval '1 second' WHERE leased")
    assert len(await db.dispatch.rescue_expired(100)) == RUNNING
    assert len(await db.tasks.changed_since(OWNER, SINCE, 100)) == RUNNING
