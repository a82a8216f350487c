"""Listings by priority, ordering key and tags, against a real PostgreSQL."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.lifecycle import TaskStatus
from taskql.listing import PageRequest, TaskFilter
from taskql.queues import TaskPriority
from taskql.task import Failure
from tests.contract.conftest import OWNER, Database
from tests.contract.plans import indexes, noted, performed, rows_read


async def titles(db: Database, filter: TaskFilter, owner: str = OWNER) -> str:
    """Of what a listing finds, which a count finds too."""
    page = await db.listings.page(owner, filter, PageRequest(limit=100, descending=False))
    assert await db.listings.count(owner, filter, 1000) == len(page.tasks)
    return "".join(task.title for task in page.tasks)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, "abcd"),
        ([TaskPriority.HIGH], "a"),
        ([TaskPriority.NORMAL], "bd"),
        ([TaskPriority.LOW, TaskPriority.HIGH], "ac"),
        ([], ""),
    ],
)
async def test_priorities(db: Database, wanted: list[TaskPriority] | None, found: str) -> None:
    for title, priority in zip("abc", TaskPriority, strict=True):
        await db.create(title, priority=priority)
    await db.create("d")
    assert await titles(db, TaskFilter(priority=wanted)) == found


async def test_ordering_keys(db: Database) -> None:
    for title, key in [("a", "k"), ("b", "k"), ("c", "K"), ("d", "k "), ("e", None)]:
        await db.create(title, ordering_key=key)
    await db.create("f", ordering_key="k", owner="bob")
    assert await titles(db, TaskFilter(ordering_key="k")) == "ab"
    assert await titles(db, TaskFilter(ordering_key="K")) == "c"
    assert await titles(db, TaskFilter(ordering_key="%")) == ""
    assert await titles(db, TaskFilter()) == "abcde"
    assert await titles(db, TaskFilter(ordering_key="k"), "bob") == "f"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, "abcdef"),
        ([], "abcdef"),
        (["x"], "ab"),
        (["y"], "ac"),
        (["x", "y"], "a"),
        (["y", "x", "y"], "a"),
        (["x", "nowhere"], ""),
        (["X"], ""),
        (["{x,y}"], "d"),
        (["für 🚀 \"q\" 'q' \\ , null"], "e"),
        (["NULL"], ""),
    ],
)
async def test_of_tags_a_task_must_have_all(db: Database, wanted: list[str] | None, found: str) -> None:
    tags = [["x", "y"], ["x"], ["y", "z"], ["{x,y}"], ["für 🚀 \"q\" 'q' \\ , null"], []]
    for title, given in zip("abcdef", tags, strict=True):
        task = await db.create(title, tags=given)
        assert list(task.tags) == given
    await db.create("g", tags=["x", "y"], owner="bob")
    assert await titles(db, TaskFilter(tags=wanted)) == found


async def test_filters_restrict_together(db: Database) -> None:
    await db.create("a", tags=["x"], priority=TaskPriority.HIGH)
    await db.create("b", tags=["x"])
    await db.create("c", tags=["x"], ordering_key="k")
    wanted = TaskFilter(tags=["x"], priority=[TaskPriority.NORMAL], status=[TaskStatus.PENDING])
    assert await titles(db, wanted) == "bc"
    assert await titles(db, TaskFilter(tags=["x"], ordering_key="k")) == "c"


async def test_failed_tasks_are_found_by_their_tags(db: Database) -> None:
    tagged = await db.claimed(tags=["x"])
    other = await db.claimed()
    for claim in (tagged, other):
        await db.leases.fail(claim.lease, Failure("PERMANENT", "no", retryable=False))
    assert await db.control.failed(OWNER, TaskFilter(tags=["x"]), 10) == [tagged.task.id]


@pytest.mark.parametrize("wanted", [["rare"], ["rare", "common"]])
async def test_a_rare_tag_is_found_by_the_index_on_tags(
    db: Database, engine: AsyncEngine, wanted: list[str]
) -> None:
    await db.sql(
        "INSERT INTO tasks (owner, kind, title, input, max_attempts, created_at, tags) "
        "SELECT $1, 'reverse', 'x', '{}', 3, now() + n * interval '1 second', CASE "
        "WHEN n % 1000 = 0 THEN ARRAY['rare', 'common'] WHEN n % 3 = 0 THEN ARRAY['common'] ELSE '{}' END "
        "FROM generate_series(1, 20000) n",
        OWNER,
    )
    await db.sql("ANALYZE tasks")
    filter = TaskFilter(tags=wanted)
    with noted(engine) as made:
        page = await db.listings.page(OWNER, filter, PageRequest(limit=10))
        assert await db.listings.count(OWNER, filter, 1000) == 20
    assert len(page.tasks) == 10
    assert page.has_next
    for statement in made:
        plan = await performed(db, statement)
        assert indexes(plan) <= {"task_tags_pkey", "tasks_pkey"}
        assert rows_read(plan) <= 1_100  # tags are compared by up to a thousand of their tasks
