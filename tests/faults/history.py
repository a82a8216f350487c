"""PostgreSQL's own account of a run: a trigger, installed by the tests alone, writes every change down.

It is part of the transaction that it records: what is in it was committed, and nothing that was is missing.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg

from tests.deployment import Deployment
from tests.faults.evidence import Change, Letter
from tests.faults.kinds import AFTER

INSTALL = """
CREATE TABLE history (
    seq              bigint GENERATED ALWAYS AS IDENTITY,
    task_id          uuid NOT NULL,
    version          integer NOT NULL,
    status           text NOT NULL,
    attempt          integer NOT NULL,
    max_attempts     integer NOT NULL,
    available_at     timestamptz,
    result           text,
    failure_code     text,
    attempt_outcome  text,
    ordering_number  bigint,
    began            timestamptz NOT NULL,
    at               timestamptz NOT NULL
);
CREATE FUNCTION write_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history (task_id, version, status, attempt, max_attempts, available_at, result, failure_code,
                         attempt_outcome, ordering_number, began, at)
    VALUES (NEW.id, NEW.version, NEW.status, NEW.attempt, NEW.max_attempts,
            (SELECT available_at FROM dispatch WHERE task_id = NEW.id), NEW.result,
            NEW.failure ->> 'code', NEW.attempts -> -1 ->> 'outcome', NEW.ordering_number, now(),
            clock_timestamp());
    RETURN NULL;
END $$;
CREATE TRIGGER write_history AFTER INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION write_history();
"""

CHANGES = """
SELECT task_id::text, version, status, attempt, max_attempts, at, available_at, result::json AS result,
       failure_code, attempt_outcome, ordering_number, began
FROM history ORDER BY seq
"""

LETTERS = """
SELECT task_id::text, attempt, reason, body, at, sent_at IS NOT NULL AS sent, queue
FROM dead_letters ORDER BY id
"""

AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises when its server breaks in the middle of it."""

OPEN = """
SELECT (SELECT count(*) FROM tasks WHERE outcome IS NULL) + (SELECT count(*) FROM dispatch)
     + (SELECT count(*) FROM dead_letters WHERE sent_at IS NULL)
"""

BUSY = """
SELECT count(*) >= 6 FROM tasks
WHERE status = 'PROCESSING' AND updated_at BETWEEN now() - interval '2 s' AND now() - interval '50 ms'
"""

TAKEOVER = """
SELECT EXISTS (
    SELECT FROM history h JOIN tasks t ON t.id = h.task_id
    WHERE h.attempt_outcome = 'LOST' AND h.at > $1 AND t.status = 'PROCESSING' AND t.attempt > h.attempt
)
"""


class History:
    """One connection's reading of it."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def install(self) -> None:
        await self._connection.execute(INSTALL)

    async def is_settled(self) -> bool:
        """Whether every task is terminal and every dead letter sent."""
        return bool(await self._connection.fetchval(OPEN) == 0)

    async def is_busy(self) -> bool:
        """Whether several tasks have been running for a moment."""
        return bool(await self._connection.fetchval(BUSY))

    async def has_takeover(self, since: datetime) -> bool:
        """Whether a task runs again by now whose attempt was lost after `since`."""
        return bool(await self._connection.fetchval(TAKEOVER, since))

    async def changes(self) -> list[Change]:
        await self._connection.set_type_codec(
            "json", schema="pg_catalog", encoder=str, decoder=json.loads, format="text"
        )
        return [Change(**row) for row in await self._connection.fetch(CHANGES)]

    async def stored(self) -> dict[str, tuple[int, str]]:
        rows = await self._connection.fetch("SELECT id::text, version, status FROM tasks")
        return {row["id"]: (row["version"], row["status"]) for row in rows}

    async def keys(self) -> dict[str, str]:
        rows = await self._connection.fetch(
            "SELECT id::text, idempotency_key AS key FROM tasks WHERE idempotency_key IS NOT NULL"
        )
        return {row["id"]: row["key"] for row in rows}

    async def follow_ups(self) -> dict[str, str]:
        rows = await self._connection.fetch("SELECT id::text, title FROM tasks WHERE idempotency_key IS NULL")
        titles = {row["id"]: row["title"] for row in rows}
        return {id: title.removeprefix(AFTER) for id, title in titles.items() if title.startswith(AFTER)}

    async def dispatched(self) -> list[str]:
        return [row["id"] for row in await self._connection.fetch("SELECT task_id::text AS id FROM dispatch")]

    async def letters(self) -> list[Letter]:
        return [Letter(**row) for row in await self._connection.fetch(LETTERS)]


@asynccontextmanager
async def connected(deployment: Deployment) -> AsyncIterator[History]:
    connection = await deployment.connect()
    try:
        yield History(connection)
    finally:
        await connection.close()
