"""What clients do to tasks that exist: cancel, retry, delete. `owner` is in each WHERE; None: everybody's.

Cancelling locks the dispatch row first, like every transition.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres.discarded import DISCARD
from taskql.adapters.postgres.engine import compact_json, connection
from taskql.adapters.postgres.filters import is_owned
from taskql.adapters.postgres.listings import PLACE, find
from taskql.adapters.postgres.revival import revive
from taskql.adapters.postgres.tables import TASK_COLUMNS, TASK_SQL, task_from
from taskql.adapters.postgres.tasks import due
from taskql.lifecycle import TaskStatus
from taskql.listing import TaskFilter
from taskql.ports import Revived
from taskql.task import Task

CANCEL = text(f"""
WITH mine AS (
    DELETE FROM dispatch d USING tasks t
    WHERE d.task_id = :id AND t.id = d.task_id AND {is_owned("t")}
    RETURNING d.task_id, d.lease_expires_at IS NOT NULL AS running, clock_timestamp() AS at
)
UPDATE tasks t
SET status = 'CANCELLED', outcome = 'CANCELLED', version = t.version + 1,
    updated_at = mine.at, finished_at = mine.at,
    attempts = CASE WHEN mine.running
        THEN jsonb_set(t.attempts, '{{-1}}', (t.attempts -> -1)
             || jsonb_build_object('finished_at', mine.at, 'outcome', 'CANCELLED'))
        ELSE t.attempts END
FROM mine WHERE t.id = mine.task_id
RETURNING {TASK_SQL}
""").columns(*TASK_COLUMNS)

RETRY = revive(f"t.id = ANY(:ids) AND {is_owned('t')} AND t.status IN ('FAILED', 'CANCELLED')")

DELETE = text(f"""
WITH gone AS (
    DELETE FROM tasks t WHERE id = :id AND {is_owned("t")} AND outcome IS NOT NULL
    RETURNING id, result_location
), discarded AS ({DISCARD})
SELECT id FROM gone
""")


class PostgresControl:
    """TaskControl over an engine in autocommit."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def cancel(self, owner: str | None, task_id: UUID) -> Task | None:
        async with connection(self._engine) as opened:
            row = (await opened.execute(CANCEL, {"id": task_id, "owner": owner})).mappings().one_or_none()
        return task_from(row) if row else None

    async def retry(
        self, owner: str | None, ids: Collection[UUID], max_attempts: Mapping[str, int]
    ) -> list[Revived]:
        values = {
            "ids": list(ids),
            "owner": owner,
            "max_attempts": compact_json(dict(max_attempts)),
        }
        async with connection(self._engine) as opened:
            rows = (await opened.execute(RETRY, values)).mappings().all()
        return [Revived(task := task_from(row), due(task, row)) for row in rows]

    async def failed(self, owner: str | None, filter: TaskFilter, limit: int) -> list[UUID]:
        async with connection(self._engine) as opened:
            listed = await find(opened, owner, only_failed(filter))
            rows = await opened.execute(listed.first(limit, PLACE, descending=False))
            return [row.id for row in rows]

    async def delete(self, owner: str | None, task_id: UUID) -> bool:
        async with connection(self._engine) as opened:
            gone = await opened.execute(DELETE, {"id": task_id, "owner": owner})
            return gone.first() is not None


def only_failed(filter: TaskFilter) -> TaskFilter:
    failed = TaskStatus.FAILED
    return replace(filter, status=[failed] if filter.status is None or failed in filter.status else [])
