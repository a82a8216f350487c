"""Listings cost the same at every size: what is read grows with the page alone."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.lifecycle import TaskStatus
from taskql.listing import PageRequest, Position, TaskFilter
from tests.contract.conftest import OWNER, Database
from tests.contract.plans import indexes, noted, performed, rows_read

ROWS = 20_000
LIMIT = 20
DONE, FAILED, CANCELLED = TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED
BOB = "bob"
FILTERS = {
    "all": (OWNER, TaskFilter()),
    "of a small owner": (BOB, TaskFilter()),
    "completed": (OWNER, TaskFilter(status=[DONE])),
    "failed": (OWNER, TaskFilter(status=[FAILED])),
    "failed or cancelled": (OWNER, TaskFilter(status=[FAILED, CANCELLED])),
    "of a common tag": (OWNER, TaskFilter(tags=["common"])),
    "of a rare tag": (OWNER, TaskFilter(tags=["rare"])),
    "of a tag, small owner": (BOB, TaskFilter(tags=["common"])),
    "everybody's": (None, TaskFilter()),
    "everybody's failed": (None, TaskFilter(status=[FAILED])),
    "everybody's failed or cancelled": (None, TaskFilter(status=[FAILED, CANCELLED])),
    "everybody's of a tag": (None, TaskFilter(tags=["rare"])),
}


async def fill(db: Database) -> None:
    """Tasks in all the proportions that mislead a planner."""
    await db.sql(
        """
        INSERT INTO tasks
            (owner, kind, title, input, max_attempts, created_at, tags, status, outcome, finished_at)
        SELECT CASE WHEN n % 500 = 0 THEN $2 ELSE $1 END, 'reverse', 'x', '{}', 3,
               now() + n * interval '1 second',
               CASE WHEN n % 400 = 0 THEN ARRAY['rare', 'common'] WHEN n % 2 = 0 THEN ARRAY['common']
                    ELSE '{}' END, s, s, now()
        FROM generate_series(1, $3) n, LATERAL (
            SELECT CASE WHEN n % 300 = 0 THEN 'FAILED' WHEN n % 700 = 0 THEN 'CANCELLED' ELSE 'COMPLETED' END
        ) status(s)
        """,
        OWNER,
        BOB,
        ROWS,
    )
    await db.sql("ANALYZE tasks, task_tags")


async def test_what_a_page_reads_grows_with_the_page_alone(db: Database, engine: AsyncEngine) -> None:
    await fill(db)
    half_way = await db.value("SELECT now() + interval '10000 seconds'")
    middle = Position(half_way, await db.value("SELECT uuidv7()"))
    for name, (owner, filter) in FILTERS.items():
        for request in (
            PageRequest(limit=LIMIT),
            PageRequest(limit=LIMIT, after=middle),
            PageRequest(limit=LIMIT, after=middle, backward=True),
            PageRequest(limit=LIMIT, descending=False, after=middle),
        ):
            with noted(engine) as made:
                page = await db.listings.page(owner, filter, request)
            assert page.tasks, name
            for statement in made:
                plan = await performed(db, statement)
                assert rows_read(plan) <= 5 * (LIMIT + 1), (name, request, plan)
                assert indexes(plan), name


async def test_tags_follow_their_tasks(db: Database) -> None:
    kept, gone = await db.create(tags=["x", "y"]), await db.create(tags=["x"])
    untagged = await db.create()
    lease = (await db.claim(gone.id)).lease
    await db.leases.complete(lease, None)
    assert await db.control.delete(OWNER, gone.id)
    rows = await db.sql("SELECT owner, tag, task_id FROM task_tags ORDER BY tag")
    assert [tuple(row) for row in rows] == [(OWNER, "x", kept.id), (OWNER, "y", kept.id)]
    assert untagged.tags == ()


@pytest.mark.parametrize("filter", [TaskFilter(), TaskFilter(tags=["x"])])
async def test_nobody_lists_or_counts_what_is_somebody_elses(db: Database, filter: TaskFilter) -> None:
    await db.create(owner=BOB, tags=["x"])
    assert (await db.listings.page(OWNER, filter, PageRequest(limit=9))).tasks == ()
    assert await db.listings.count(OWNER, filter, 9) == 0
    assert await db.control.failed(OWNER, filter, 9) == []


async def test_an_administrator_reaches_everybodys_tasks(db: Database) -> None:
    mine, theirs = await db.create(), await db.create(owner=BOB)
    assert await db.tasks.fetch(None, [mine.id, theirs.id]) == {mine.id: mine, theirs.id: theirs}
    page = await db.listings.page(None, TaskFilter(), PageRequest(limit=9))
    assert page.tasks == (theirs, mine)
    cancelled = await db.control.cancel(None, theirs.id)
    assert cancelled is not None
    [revived] = await db.control.retry(None, [theirs.id], {})
    assert revived.task.owner == BOB
