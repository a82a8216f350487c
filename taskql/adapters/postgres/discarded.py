"""The locations of results whose tasks are gone, written by the statements that delete tasks."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres.engine import connection

RESERVED_SECONDS = 60
"""How long a row is left to the process that means to delete its documents."""

DISCARD = """
    INSERT INTO discarded_results (task_id, location)
    SELECT id, result_location FROM gone WHERE result_location IS NOT NULL
"""
"""What goes with deleting tasks, `gone`. A task is deleted once, since no id is ever used again."""

RESERVE = text(f"""
WITH waiting AS (
    SELECT task_id FROM discarded_results
    WHERE reserved_until IS NULL OR reserved_until < now()
    ORDER BY reserved_until NULLS FIRST, task_id LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE discarded_results r SET reserved_until = now() + make_interval(secs => {RESERVED_SECONDS})
WHERE r.task_id = ANY (ARRAY (SELECT task_id FROM waiting))
RETURNING r.task_id, r.location
""")

REMOVE = text("DELETE FROM discarded_results WHERE task_id = ANY(:ids)")


class PostgresDiscarded:
    """DiscardedResults over an engine in autocommit."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def reserve(self, limit: int) -> dict[UUID, str]:
        async with connection(self._engine) as opened:
            rows = await opened.execute(RESERVE, {"limit": limit})
            return {row.task_id: row.location for row in rows}

    async def remove(self, task_ids: Collection[UUID]) -> None:
        async with connection(self._engine) as opened:
            await opened.execute(REMOVE, {"ids": list(task_ids)})
