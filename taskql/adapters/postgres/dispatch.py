"""The dispatch rows, as upkeep sees them. SKIP LOCKED lets any number of processes share the work."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.selectable import TextualSelect

from taskql.adapters.postgres.discarded import DISCARD
from taskql.adapters.postgres.engine import compact_json, connection
from taskql.adapters.postgres.ordering import UNBLOCK, UNBLOCK_NEXT
from taskql.adapters.postgres.statement import Statement, hidden
from taskql.adapters.postgres.tables import (
    DISPATCH_SQL,
    EVENT_COLUMNS,
    EVENT_SQL,
    dispatch_from,
    event_from,
    failure_json,
    letter_from,
)
from taskql.ports import DeadLetter, Dispatch
from taskql.queues import Queue
from taskql.task import Failure, TaskEvent

RESERVED_SECONDS = 10
"""How long reserved rows are left to the process that means to send them: longer than a send's time limit."""

MAX_MARGIN_DOUBLINGS = 6

GROUPS_AT_ONCE = 2_500
"""So many of the ordering groups where somebody waits are looked at in one step, which takes 10 ms."""

LOST = Failure(
    "CRASHED",
    "The worker that ran the last attempt was lost: it crashed, was killed or stalled. "
    "If the task takes its worker along, find out why before retrying.",
    retryable=True,
)

EXPIRED = Failure(
    "EXPIRED",
    "The task had not started by its expiresAt. Retry it to run it all the same; it then no longer expires.",
    retryable=True,
)

# By an array of their ids, the planner looks up each row; a join it may perform by reading the whole table.
RESERVE_DUE = text(f"""
WITH due AS (
    SELECT task_id FROM dispatch
    WHERE sent_at IS NULL AND lease_expires_at IS NULL AND NOT blocked AND available_at <= now()
      AND (reserved_until IS NULL OR reserved_until < now())
    ORDER BY available_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE dispatch d SET reserved_until = now() + make_interval(secs => {RESERVED_SECONDS})
WHERE d.task_id = ANY (ARRAY (SELECT task_id FROM due))
RETURNING {DISPATCH_SQL}
""")

# A claim or a delay may have come between reserving and sending: then this sending is history.
MARK_SENT = Statement(f"""
UPDATE dispatch d SET sent_at = now(), sends = d.sends + 1, reserved_until = NULL
FROM (
    SELECT mine.task_id FROM dispatch mine
    JOIN unnest({hidden("ids", "uuid[]")}, CAST(:attempts AS integer[])) AS sent(task_id, attempt)
      ON mine.task_id = sent.task_id AND mine.attempt = sent.attempt
    WHERE mine.reserved_until IS NOT NULL
    ORDER BY mine.task_id FOR UPDATE OF mine
) AS mine
WHERE d.task_id = mine.task_id
""")

RESCUE = text(f"""
WITH expired AS (
    SELECT d.task_id, d.attempt, d.queue, t.owner, t.attempt >= t.max_attempts AS exhausted,
           clock_timestamp() AS at
    FROM dispatch d JOIN tasks t ON t.id = d.task_id
    WHERE d.leased AND d.lease_expires_at < now()
    ORDER BY d.task_id LIMIT :limit FOR UPDATE OF d SKIP LOCKED
), again AS (
    UPDATE dispatch d
    SET lease_expires_at = NULL, sent_at = NULL, reserved_until = NULL, available_at = clock_timestamp(),
        returned_at = expired.at
    FROM expired WHERE d.task_id = expired.task_id AND NOT expired.exhausted
), gone AS (
    DELETE FROM dispatch d USING expired WHERE d.task_id = expired.task_id AND expired.exhausted
), letters AS (
    INSERT INTO dead_letters (reason, task_id, owner, attempt, queue, body, at)
    SELECT CAST(:reason AS text), task_id, owner, attempt, queue,
           '{{"task_id": "' || task_id || '", "v": 1}}', at
    FROM expired WHERE exhausted
)
UPDATE tasks t
SET status = CASE WHEN exhausted THEN 'FAILED' ELSE 'PENDING' END,
    outcome = CASE WHEN exhausted THEN 'FAILED' END,
    failure = CASE WHEN exhausted THEN CAST(:failure AS jsonb) END,
    finished_at = CASE WHEN exhausted THEN expired.at END,
    progress = CASE WHEN exhausted THEN t.progress END,
    version = t.version + 1, updated_at = expired.at,
    attempts = jsonb_set(t.attempts, '{{-1}}', (t.attempts -> -1) || jsonb_build_object(
        'finished_at', expired.at, 'outcome', 'LOST', 'failure', CAST(:failure AS jsonb)))
FROM expired WHERE t.id = expired.task_id
RETURNING {EVENT_SQL}
""").columns(*EVENT_COLUMNS)

EXPIRE = text(f"""
WITH expired AS (
    SELECT d.task_id, d.attempt, d.queue, t.owner, clock_timestamp() AS at
    FROM dispatch d JOIN tasks t ON t.id = d.task_id
    WHERE d.expires_at <= now() AND d.lease_expires_at IS NULL
    ORDER BY d.expires_at LIMIT :limit FOR UPDATE OF d SKIP LOCKED
), gone AS (
    DELETE FROM dispatch d USING expired WHERE d.task_id = expired.task_id
), letters AS (
    INSERT INTO dead_letters (reason, task_id, owner, attempt, queue, body, at)
    SELECT CAST(:reason AS text), task_id, owner, attempt, queue,
           '{{"task_id": "' || task_id || '", "v": 1}}', at
    FROM expired
)
UPDATE tasks t
SET status = 'FAILED', outcome = 'FAILED', failure = CAST(:failure AS jsonb), version = t.version + 1,
    updated_at = expired.at, finished_at = expired.at
FROM expired WHERE t.id = expired.task_id
RETURNING {EVENT_SQL}
""").columns(*EVENT_COLUMNS)

RAISE_WATERMARK = text("""
INSERT INTO watermarks AS w (queue, sent_at) VALUES (:queue, least(:sent_at, now()))
ON CONFLICT (queue) DO UPDATE SET sent_at = greatest(w.sent_at, excluded.sent_at)
""")

# The oldest of each queue is one look into the index of what was sent.
SILENT_QUEUES = text("""
SELECT asked.queue FROM unnest(CAST(:queues AS text[])) AS asked(queue) LEFT JOIN watermarks w USING (queue)
WHERE (w.sent_at IS NULL OR w.sent_at < now() - CAST(:margin AS interval))
  AND (SELECT min(d.sent_at) FROM dispatch d WHERE d.queue = asked.queue AND NOT d.leased)
      < now() - CAST(:margin AS interval)
""")

# The simple margin is a bound that the index serves; the doubled one leaves out some of what it finds.
RESEND_LOST = text(f"""
WITH lost AS (
    SELECT d.task_id FROM watermarks w CROSS JOIN LATERAL (
        SELECT task_id, sent_at FROM dispatch
        WHERE queue = w.queue AND NOT leased AND sent_at < w.sent_at - CAST(:margin AS interval)
          AND sent_at < w.sent_at - CAST(:margin AS interval)
                        * power(2, least(greatest(sends, 1) - 1, {MAX_MARGIN_DOUBLINGS}))
        ORDER BY sent_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ) d
    ORDER BY d.sent_at LIMIT :limit
)
UPDATE dispatch SET sent_at = NULL, reserved_until = NULL
WHERE task_id = ANY (ARRAY (SELECT task_id FROM lost))
""")

RESERVE_DEAD_LETTERS = text(f"""
WITH unsent AS (
    SELECT id FROM dead_letters
    WHERE sent_at IS NULL AND (reserved_until IS NULL OR reserved_until < now())
    ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE dead_letters l SET reserved_until = now() + make_interval(secs => {RESERVED_SECONDS})
WHERE l.id = ANY (ARRAY (SELECT id FROM unsent))
RETURNING l.id, l.reason, l.body, l.task_id, l.attempt, l.queue, l.at
""")

MARK_DEAD_LETTERS_SENT = text("UPDATE dead_letters SET sent_at = now() WHERE id = ANY(:ids)")

FORGET = text(f"""
WITH old AS (
    SELECT id FROM tasks WHERE finished_at < now() - CAST(:age AS interval)
    ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED
), letters AS (
    DELETE FROM dead_letters WHERE id = ANY (ARRAY (
        SELECT id FROM dead_letters WHERE sent_at < now() - CAST(:age AS interval)
        ORDER BY sent_at LIMIT :limit
    ))
), gone AS (
    DELETE FROM tasks t WHERE t.id = ANY (ARRAY (SELECT id FROM old)) RETURNING t.id, t.result_location
), discarded AS ({DISCARD})
SELECT count(*) FROM gone
""")

# A group that somebody is taking a place in is in use; waiting for it with others in hand could deadlock.
FORGET_ORDERINGS = text("""
WITH unused AS (
    SELECT name FROM orderings o WHERE o.used_at < now() - CAST(:unused_for AS interval)
    AND NOT EXISTS (SELECT FROM dispatch d WHERE d.ordering_group = o.name AND d.blocked)
    AND NOT EXISTS (SELECT FROM dispatch d WHERE d.ordering_group = o.name AND NOT d.blocked)
    FOR UPDATE SKIP LOCKED
)
DELETE FROM orderings o USING unused WHERE o.name = unused.name
""")


class PostgresDispatch:
    """DispatchStore over an engine in autocommit."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._last_group = ""

    async def reserve_due(self, limit: int) -> list[Dispatch]:
        async with connection(self._engine) as opened:
            rows = await opened.execute(RESERVE_DUE, {"limit": limit})
            return [dispatch_from(row) for row in rows.mappings()]

    async def unblock(self, groups: Collection[str] | None = None) -> int:
        async with connection(self._engine) as opened:
            if groups is not None:
                return int(await opened.scalar(UNBLOCK, {"groups": list(groups)}) or 0)
            values = {"after": self._last_group, "limit": GROUPS_AT_ONCE}
            found = (await opened.execute(UNBLOCK_NEXT, values)).one()
        self._last_group = found.last or ""
        return int(found.let_go)

    async def mark_sent(self, dispatches: Sequence[Dispatch]) -> None:
        await MARK_SENT.rows(
            self._engine,
            ids=[dispatch.task_id for dispatch in dispatches],
            attempts=[dispatch.attempt for dispatch in dispatches],
        )

    async def rescue_expired(self, limit: int) -> list[TaskEvent]:
        return await self._give_up(RESCUE, LOST, limit)

    async def expire(self, limit: int) -> list[TaskEvent]:
        return await self._give_up(EXPIRE, EXPIRED, limit)

    async def raise_watermark(self, queue: Queue, sent_at: datetime) -> None:
        async with connection(self._engine) as opened:
            await opened.execute(RAISE_WATERMARK, {"queue": queue, "sent_at": sent_at})

    async def silent_queues(self, margin: timedelta) -> list[Queue]:
        async with connection(self._engine) as opened:
            rows = await opened.execute(SILENT_QUEUES, {"queues": list(Queue), "margin": margin})
            return [Queue(row.queue) for row in rows]

    async def resend_lost(self, margin: timedelta, limit: int) -> int:
        async with connection(self._engine) as opened:
            found = await opened.execute(RESEND_LOST, {"margin": margin, "limit": limit})
            return found.rowcount

    async def _give_up(self, statement: TextualSelect, failure: Failure, limit: int) -> list[TaskEvent]:
        values = {
            "limit": limit,
            "failure": compact_json(failure_json(failure)),
            "reason": f"{failure.code}: {failure.message}",
        }
        async with connection(self._engine) as opened:
            rows = await opened.execute(statement, values)
            return [event_from(row) for row in rows.mappings()]

    async def reserve_dead_letters(self, limit: int) -> list[DeadLetter]:
        async with connection(self._engine) as opened:
            rows = await opened.execute(RESERVE_DEAD_LETTERS, {"limit": limit})
            return [letter_from(row) for row in rows.mappings()]

    async def mark_dead_letters_sent(self, ids: Sequence[UUID]) -> None:
        async with connection(self._engine) as opened:
            await opened.execute(MARK_DEAD_LETTERS_SENT, {"ids": list(ids)})

    async def forget_orderings(self, unused_for: timedelta) -> int:
        async with connection(self._engine) as opened:
            return (await opened.execute(FORGET_ORDERINGS, {"unused_for": unused_for})).rowcount

    async def forget_older(self, age: timedelta, limit: int) -> int:
        async with connection(self._engine) as opened:
            found = await opened.execute(FORGET, {"age": age, "limit": limit})
            return int(found.scalar_one())
