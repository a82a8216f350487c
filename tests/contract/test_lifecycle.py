"""One lifecycle in three places: the table in code, the database's guard, and the page in docs."""

import itertools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from taskql.lifecycle import TERMINAL, TRANSITIONS, TaskStatus, may_become
from tests.contract.conftest import Database

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "lifecycle.md").read_text()
ARROW = re.compile(r"^ *(\S+) --> (\S+?)(?:: (\w+))?$", re.MULTILINE)
TABLE_ROW = re.compile(r"^\| (\w+) \| ([A-Z]+) \| ([A-Z]+) \|", re.MULTILINE)

Pair = tuple[TaskStatus, TaskStatus]
PAIRS: list[Pair] = list(itertools.product(TaskStatus, TaskStatus))
ALLOWED = {pair for pair in PAIRS if may_become(*pair)}
MOVES = {(move.name, move.source.value, move.target.value) for move in TRANSITIONS}

STORE = """
INSERT INTO tasks (owner, kind, title, input, max_attempts, status, attempt, outcome, finished_at)
VALUES ('ada', 'reverse', 'a title', '{}', 3, $1::text, 1,
        CASE WHEN $2 THEN $1::text END, CASE WHEN $2 THEN now() END)
RETURNING id
"""
MOVE = """
UPDATE tasks SET version = version + 1, attempt = attempt + $3::integer, status = $2::text,
       outcome = CASE WHEN $4 THEN $2::text END, finished_at = CASE WHEN $4 THEN now() END
WHERE id = $1
"""


@asynccontextmanager
async def undone(db: Database) -> AsyncIterator[None]:
    """What the block does to the database is undone."""
    transaction = db.direct.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def stored(db: Database, status: TaskStatus) -> UUID:
    task_id = await db.value(STORE, status.value, status.is_terminal)
    assert isinstance(task_id, UUID)
    return task_id


async def accepts(db: Database, source: TaskStatus, target: TaskStatus) -> bool:
    """Whether the database lets a task go from one status to another, every other column being right."""
    task_id = await stored(db, source)
    begins = int((source, target) == (TaskStatus.PENDING, TaskStatus.PROCESSING))
    try:
        async with db.direct.transaction():  # a savepoint, where a test undoes more than this
            await db.direct.execute(MOVE, task_id, target.value, begins, target.is_terminal)
    except asyncpg.CheckViolationError as refused:
        assert str(refused) == f"a task does not go from {source} to {target}"  # noqa: PT017
        return False
    return True


async def accepted(db: Database) -> set[Pair]:
    return {pair for pair in PAIRS if await accepts(db, *pair)}


async def test_the_guard_accepts_the_moves_of_the_table_and_no_others(db: Database) -> None:
    assert await accepted(db) == ALLOWED


async def test_a_missing_guard_would_be_noticed(db: Database) -> None:
    async with undone(db):
        await db.sql("DROP TRIGGER tasks_guard ON tasks")
        assert await accepted(db) == set(PAIRS) != ALLOWED


@pytest.mark.parametrize("gone", ["('PENDING', 'FAILED'), ", "('PROCESSING', 'PROCESSING'),"])
async def test_a_guard_that_forgets_a_move_would_be_noticed(db: Database, gone: str) -> None:
    source = await db.value("SELECT pg_get_functiondef('tasks_guard'::regproc)")
    assert gone in source
    async with undone(db):
        await db.sql(source.replace(gone, ""))
        found = await accepted(db)
    assert len(ALLOWED - found) == 1
    assert found < ALLOWED


def test_the_diagram_shows_each_transition_and_no_other() -> None:
    [diagram] = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", PAGE, re.DOTALL)
    arrows = ARROW.findall(diagram)
    assert len(arrows) == len(diagram.strip().splitlines()), "a line of the diagram that is no arrow"
    assert len(arrows) == len(set(arrows))
    inner = {(name, source, target) for source, target, name in arrows if "[*]" not in (source, target)}
    assert inner == MOVES
    assert {arrow for arrow in arrows if arrow[0] == "[*]"} == {("[*]", "PENDING", "create")}
    assert {source for source, target, _ in arrows if target == "[*]"} == {each.value for each in TERMINAL}


def test_the_table_of_the_page_has_each_transition_and_no_other() -> None:
    assert set(TABLE_ROW.findall(PAGE)) == MOVES


def test_from_a_terminal_status_a_task_only_goes_back_to_pending() -> None:
    leaving = {(source, target) for source, target in ALLOWED if source.is_terminal}
    assert leaving == {
        (TaskStatus.FAILED, TaskStatus.PENDING),
        (TaskStatus.CANCELLED, TaskStatus.PENDING),
    }


@pytest.mark.parametrize("step", [-1, 0, 2])
@pytest.mark.parametrize(("source", "target"), sorted(ALLOWED), ids=lambda status: str(status))
async def test_version_rises_by_exactly_one(
    db: Database, source: TaskStatus, target: TaskStatus, step: int
) -> None:
    task_id = await stored(db, source)
    begins = int((source, target) == (TaskStatus.PENDING, TaskStatus.PROCESSING))
    wrong = MOVE.replace("version + 1", f"version + {step}")
    with pytest.raises(asyncpg.CheckViolationError, match="raises version by one"):
        await db.sql(wrong, task_id, target.value, begins, target.is_terminal)


@pytest.mark.parametrize(("source", "target"), sorted(ALLOWED), ids=lambda status: str(status))
async def test_attempt_rises_by_one_at_a_claim_and_at_no_other_time(
    db: Database, source: TaskStatus, target: TaskStatus
) -> None:
    task_id = await stored(db, source)
    right = int((source, target) == (TaskStatus.PENDING, TaskStatus.PROCESSING))
    for wrong in {-1, 0, 1, 2} - {right}:
        with pytest.raises(asyncpg.CheckViolationError, match="attempt rises by one at each claim"):
            await db.sql(MOVE, task_id, target.value, wrong, target.is_terminal)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", "uuidv7()"),
        ("owner", "'mallory'"),
        ("kind", "'compute'"),
        ("created_at", "created_at - interval '1 day'"),
    ],
)
async def test_who_and_what_a_task_is_never_changes(db: Database, column: str, value: str) -> None:
    task_id = await stored(db, TaskStatus.PROCESSING)
    with pytest.raises(asyncpg.CheckViolationError, match="never change"):
        await db.sql(f"UPDATE tasks SET version = version + 1, {column} = {value} WHERE id = $1", task_id)


@pytest.mark.parametrize("column", ["id", "owner", "kind", "created_at", "status", "version", "attempt"])
async def test_nothing_can_be_slipped_past_the_guard_as_null(db: Database, column: str) -> None:
    task_id = await stored(db, TaskStatus.PROCESSING)
    changes = f"{column} = NULL" if column == "version" else f"version = version + 1, {column} = NULL"
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await db.sql(f"UPDATE tasks SET {changes} WHERE id = $1", task_id)


@pytest.mark.parametrize("status", TaskStatus)
@pytest.mark.parametrize("outcome", [None, *sorted(TERMINAL)])
async def test_outcome_is_the_terminal_status_and_else_null(
    db: Database, status: TaskStatus, outcome: TaskStatus | None
) -> None:
    columns = "(owner, kind, title, input, max_attempts, status, outcome, finished_at)"
    values = "('ada', 'reverse', 'x', '{}', 3, $1::text, $2::text, CASE WHEN $2 IS NOT NULL THEN now() END)"
    statement = f"INSERT INTO tasks {columns} VALUES {values}"
    if outcome == (status if status.is_terminal else None):
        await db.sql(statement, status.value, outcome)
    else:
        with pytest.raises(asyncpg.CheckViolationError, match="outcome_is_the_terminal_status"):
            await db.sql(statement, status.value, outcome)


@pytest.mark.parametrize("status", TaskStatus)
async def test_a_task_has_finished_if_and_only_if_it_is_terminal(db: Database, status: TaskStatus) -> None:
    wrong = STORE.replace("CASE WHEN $2 THEN now() END)", "CASE WHEN NOT $2 THEN now() END)")
    assert wrong != STORE
    with pytest.raises(asyncpg.CheckViolationError, match="finished_when_terminal"):
        await db.sql(wrong, status.value, status.is_terminal)
