"""What operators read of the queues: figures of the dispatch rows, one for each unfinished task."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres.engine import connection
from taskql.ports import QueueFigures
from taskql.queues import Queue

# Each row counts once: leased, due, or waiting for its time or its turn.
FIGURES = text("""
WITH unfinished AS (
    SELECT queue, available_at, lease_expires_at IS NOT NULL AS leased,
           lease_expires_at IS NULL AND NOT blocked AND available_at <= now() AS due
    FROM dispatch
), counted AS (
    SELECT queue, count(*) FILTER (WHERE due) AS depth, count(*) FILTER (WHERE leased) AS in_flight,
           count(*) FILTER (WHERE NOT due AND NOT leased) AS delayed,
           now() - min(available_at) FILTER (WHERE due) AS oldest_age
    FROM unfinished GROUP BY queue
), letters AS (
    SELECT queue, count(*) AS dead_letters FROM dead_letters GROUP BY queue
)
SELECT queue, depth, in_flight, delayed, oldest_age, dead_letters
FROM counted FULL JOIN letters USING (queue)
""")


class PostgresQueues:
    """QueueStore over an engine in autocommit."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def figures(self) -> list[QueueFigures]:
        async with connection(self._engine) as opened:
            rows = {row["queue"]: row for row in (await opened.execute(FIGURES)).mappings()}
        return [_figures(queue, rows.get(queue)) for queue in Queue]


def _figures(queue: Queue, row: RowMapping | None) -> QueueFigures:
    counts: dict[str, Any] = dict(row) if row else {}
    return QueueFigures(
        queue,
        depth=counts.get("depth") or 0,
        in_flight=counts.get("in_flight") or 0,
        delayed=counts.get("delayed") or 0,
        oldest_age=counts.get("oldest_age"),
        dead_letters=counts.get("dead_letters") or 0,
    )
