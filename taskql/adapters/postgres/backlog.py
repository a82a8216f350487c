"""The backlog in PostgreSQL, read by primary keys in batches, so that neither side holds much at a time."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import column, text
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres.engine import connection
from taskql.adapters.postgres.tables import tasks
from taskql.errors import StartupError
from taskql.ports import Stored

BATCH = 250
"""Tasks at a time; with inputs of 256 KiB, the largest there are, that is 64 MiB."""

NEWEST = 10_000
"""How many of the newest tasks are looked through for results."""

FIRST, LAST = UUID(int=0), UUID(int=2**128 - 1)
"""What all ids lie between."""

IS_THERE = text("SELECT to_regclass('dispatch') IS NOT NULL AND to_regclass('tasks') IS NOT NULL")

WAITING = text("SELECT count(*) FROM dispatch")

# By an array of their ids, the planner looks up each row; a join it may perform by reading the whole table.
INPUTS = text("""
SELECT id, kind, input FROM tasks
WHERE id = ANY (ARRAY (SELECT task_id FROM dispatch WHERE task_id > :after ORDER BY task_id LIMIT :limit))
ORDER BY id
""").columns(tasks.c.id, tasks.c.kind, tasks.c.input)

RESULTS = text("""
SELECT t.id, t.kind, wanted, CASE WHEN wanted THEN t.result END AS result
FROM (
    SELECT id, kind, result, kind = ANY(:kinds) AND coalesce(outcome = 'COMPLETED', false)
           AND result_location IS NULL AS wanted
    FROM tasks WHERE id < :before ORDER BY id DESC LIMIT :limit
) t
ORDER BY t.id DESC
""").columns(tasks.c.id, tasks.c.kind, column("wanted"), tasks.c.result)


class PostgresBacklog:
    """Backlog over an engine in autocommit."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def waiting(self) -> int:
        """Raises StartupError where the database has no tables yet."""
        async with connection(self._engine) as opened:
            if not await opened.scalar(IS_THERE):
                raise StartupError(
                    "DATABASE_URL names a database without tables of TaskQL: name the one that is in use, or "
                    "run `python -m taskql migrate`."
                )
            return int(await opened.scalar(WAITING))

    async def inputs(self) -> AsyncIterator[Sequence[Stored]]:
        after = FIRST
        while rows := await self._rows(INPUTS, after=after, limit=BATCH):
            after = rows[-1].id
            yield [Stored(row.id, row.kind, row.input) for row in rows]

    async def newest_results(self, kinds: Collection[str]) -> AsyncIterator[Sequence[Stored]]:
        before = LAST
        for _ in range(NEWEST // BATCH):
            if not kinds:
                return
            rows = await self._rows(RESULTS, before=before, limit=BATCH, kinds=list(kinds))
            if not rows:
                return
            before = rows[-1].id
            yield [Stored(row.id, row.kind, row.result) for row in rows if row.wanted]

    async def _rows(self, statement: Any, **values: Any) -> Sequence[Any]:
        async with connection(self._engine) as opened:
            return (await opened.execute(statement, values)).all()
