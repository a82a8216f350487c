"""What workers do in PostgreSQL: claims, and the named transitions of a leased attempt.

Every transition is fenced: it takes effect only while its attempt is the one that runs. The dispatch row is
locked first and carries the fence; `at` is the moment of the change, on the database's clock.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, column, text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.selectable import TextualSelect

from taskql.adapters.postgres.engine import compact_json, connection, transaction
from taskql.adapters.postgres.revival import revive
from taskql.adapters.postgres.tables import (
    EVENT_COLUMNS,
    EVENT_SQL,
    TASK_COLUMNS,
    TASK_SQL,
    event_from,
    failure_json,
    task_from,
)
from taskql.adapters.postgres.tasks import due, insert
from taskql.errors import LeaseLost
from taskql.message import encode
from taskql.ports import (
    Claim,
    Claimed,
    Completion,
    Finished,
    LeasedElsewhere,
    NoHandler,
    NotDue,
    Revived,
    Unknown,
)
from taskql.queues import Queue
from taskql.storable import storable
from taskql.task import JSON, MAX_ATTEMPTS_KEPT, Failure, Lease, NewTask, Progress, TaskEvent

PUT_OFF_SECONDS = 10
"""How long a task waits that came to a worker which does not know its kind."""

HELD = """
    WHERE d.task_id = :id AND d.attempt = :attempt AND d.lease_expires_at IS NOT NULL
"""

OPEN_ATTEMPT = f"""
    attempts = CASE WHEN jsonb_array_length(t.attempts) < {MAX_ATTEMPTS_KEPT}
                    THEN t.attempts ELSE t.attempts - 0 END
        || jsonb_build_object('number', mine.attempt, 'started_at', mine.at)
"""

CLOSE_ATTEMPT = """
    attempts = jsonb_set(t.attempts, '{-1}', (t.attempts -> -1) || jsonb_build_object(
        'finished_at', mine.at, 'outcome', CAST(:attempt_outcome AS text),
        'failure', CAST(:failure AS jsonb) - 'detail'))
"""

CLAIM = text(f"""
WITH mine AS (
    UPDATE dispatch d
    SET attempt = d.attempt + 1, lease_expires_at = clock_timestamp() + :lease_for,
        sent_at = coalesce(d.sent_at, now()), reserved_until = NULL, expires_at = NULL
    FROM tasks t
    WHERE d.task_id = :id AND t.id = d.task_id AND t.kind = ANY(:kinds) AND d.lease_expires_at IS NULL
      AND d.available_at <= clock_timestamp() AND NOT d.blocked
      AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp())
    RETURNING d.task_id, d.attempt, clock_timestamp() AS at
)
UPDATE tasks t
SET status = 'PROCESSING', version = t.version + 1, attempt = mine.attempt, progress = NULL,
    started_at = coalesce(t.started_at, mine.at), updated_at = mine.at, {OPEN_ATTEMPT}
FROM mine WHERE t.id = mine.task_id
RETURNING {TASK_SQL}, t.trace_context ->> 'traceparent' AS traceparent
""").columns(*TASK_COLUMNS, column("traceparent"))

# PostgreSQL's greatest() passes over nulls: without the CASE, a task that nobody leases would seem leased.
MISSED = text("""
SELECT t.kind, d.task_id IS NULL AS finished,
       CASE WHEN d.lease_expires_at IS NOT NULL
            THEN greatest(d.lease_expires_at - clock_timestamp(), interval '0') END AS remaining
FROM tasks t LEFT JOIN dispatch d ON d.task_id = t.id
WHERE t.id = :id
""")

PUT_OFF = text("""
UPDATE dispatch
SET available_at = clock_timestamp() + make_interval(secs => :seconds), sent_at = NULL, reserved_until = NULL,
    sends = sends + (sent_at IS NULL)::integer
WHERE task_id = :id AND lease_expires_at IS NULL
""")

EXTEND = text(f"""
UPDATE dispatch d SET lease_expires_at = clock_timestamp() + :lease_for {HELD} RETURNING d.task_id
""")

STILL_HELD = text("""
SELECT d.task_id, d.attempt FROM dispatch d
JOIN unnest(CAST(:ids AS uuid[]), CAST(:attempts AS integer[])) AS lease(task_id, attempt)
  ON d.task_id = lease.task_id AND d.attempt = lease.attempt
WHERE d.lease_expires_at IS NOT NULL
""")

PROGRESS = text(f"""
UPDATE tasks t
SET progress = CAST(:progress AS jsonb), version = t.version + 1, updated_at = clock_timestamp()
WHERE t.id = :id AND t.attempt = :attempt AND t.status = 'PROCESSING'
RETURNING {EVENT_SQL}
""").columns(*EVENT_COLUMNS)

COMPLETE = text(f"""
WITH mine AS (DELETE FROM dispatch d {HELD} RETURNING d.task_id, clock_timestamp() AS at)
UPDATE tasks t
SET status = 'COMPLETED', outcome = 'COMPLETED', version = t.version + 1, result = CAST(:result AS json),
    result_location = :location, updated_at = mine.at, finished_at = mine.at, {CLOSE_ATTEMPT}
FROM mine WHERE t.id = mine.task_id
RETURNING {EVENT_SQL}
""").columns(*EVENT_COLUMNS)

FAIL = text(f"""
WITH mine AS (DELETE FROM dispatch d {HELD} RETURNING d.task_id, d.queue, clock_timestamp() AS at),
letter AS (
    INSERT INTO dead_letters (reason, task_id, owner, attempt, queue, body, at)
    SELECT CAST(:reason AS text), t.id, t.owner, t.attempt, mine.queue, CAST(:body AS text), mine.at
    FROM mine JOIN tasks t ON t.id = mine.task_id
)
UPDATE tasks t
SET status = 'FAILED', outcome = 'FAILED', version = t.version + 1, failure = CAST(:failure AS jsonb),
    updated_at = mine.at, finished_at = mine.at, {CLOSE_ATTEMPT}
FROM mine WHERE t.id = mine.task_id
RETURNING {EVENT_SQL}
""").columns(*EVENT_COLUMNS)

# A release gives its attempt back by raising max_attempts: attempt itself never falls.
BACK_TO_PENDING = text(f"""
WITH mine AS (
    UPDATE dispatch d
    SET lease_expires_at = NULL, sent_at = NULL, reserved_until = NULL,
        available_at = clock_timestamp() + :delay
    {HELD}
    RETURNING d.task_id, clock_timestamp() AS at
)
UPDATE tasks t
SET status = 'PENDING', version = t.version + 1, max_attempts = t.max_attempts + :given_back, progress = NULL,
    updated_at = mine.at, {CLOSE_ATTEMPT}
FROM mine WHERE t.id = mine.task_id
RETURNING {EVENT_SQL}
""").columns(*EVENT_COLUMNS)

REDRIVE = revive("t.id = :id AND t.attempt = :attempt AND t.status = 'FAILED'")

BURY = text("INSERT INTO dead_letters (reason, queue, body) VALUES (:reason, :queue, :body)")


class PostgresLeases:
    """LeaseStore over an engine in autocommit."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def claim(self, task_id: UUID, kinds: Collection[str], lease_for: timedelta) -> Claim:
        async with connection(self._engine) as opened:
            wanted = {"id": task_id, "kinds": list(kinds), "lease_for": lease_for}
            row = (await opened.execute(CLAIM, wanted)).mappings().one_or_none()
            if row is None:
                return await _missed(opened, task_id, kinds)
        task = task_from(row)
        return Claimed(Lease(task.id, task.attempt), task, row["traceparent"])

    async def extend(self, lease: Lease, lease_for: timedelta) -> None:
        await self._fenced(EXTEND, lease, lease_for=lease_for)

    async def held(self, leases: Collection[Lease]) -> set[Lease]:
        values = {
            "ids": [lease.task_id for lease in leases],
            "attempts": [lease.attempt for lease in leases],
        }
        async with connection(self._engine) as opened:
            return {Lease(row.task_id, row.attempt) for row in await opened.execute(STILL_HELD, values)}

    async def progress(self, lease: Lease, progress: Progress) -> TaskEvent:
        shown = compact_json({"fraction": progress.fraction, "message": progress.message})
        return event_from(await self._fenced(PROGRESS, lease, progress=shown))

    async def complete(
        self, lease: Lease, result: JSON, location: str | None = None, follow_ups: Sequence[NewTask] = ()
    ) -> Completion:
        values = {
            "id": lease.task_id,
            "attempt": lease.attempt,
            "result": compact_json(result),
            "location": location,
            "attempt_outcome": "COMPLETED",
            "failure": None,
        }
        if not follow_ups:
            async with connection(self._engine) as opened:
                return Completion(await _completed(opened, lease, values))
        async with transaction(self._engine) as opened:
            event = await _completed(opened, lease, values)
            created = await insert(opened, follow_ups)
        return Completion(event, [created[index] for index in range(len(follow_ups))])

    async def retry(self, lease: Lease, failure: Failure, delay: timedelta) -> TaskEvent:
        return event_from(
            await self._fenced(
                BACK_TO_PENDING,
                lease,
                delay=delay,
                given_back=0,
                attempt_outcome="RETRIED",
                failure=compact_json(failure_json(failure)),
            )
        )

    async def fail(self, lease: Lease, failure: Failure) -> TaskEvent:
        return event_from(
            await self._fenced(
                FAIL,
                lease,
                attempt_outcome="FAILED",
                failure=compact_json(failure_json(failure)),
                reason=f"{failure.code}: {failure.message}",
                body=encode(lease.task_id),
            )
        )

    async def release(self, lease: Lease) -> TaskEvent:
        return event_from(
            await self._fenced(
                BACK_TO_PENDING,
                lease,
                delay=timedelta(0),
                given_back=1,
                attempt_outcome="RELEASED",
                failure=None,
            )
        )

    async def redrive(
        self, task_id: UUID, failed_attempt: int, max_attempts: Mapping[str, int]
    ) -> Revived | None:
        values = {
            "id": task_id,
            "attempt": failed_attempt,
            "max_attempts": compact_json(dict(max_attempts)),
        }
        async with connection(self._engine) as opened:
            row = (await opened.execute(REDRIVE, values)).mappings().one_or_none()
        return Revived(task := task_from(row), due(task, row)) if row else None

    async def bury(self, queue: Queue, body: str, reason: str) -> None:
        async with connection(self._engine) as opened:
            await opened.execute(BURY, {"queue": queue, "body": storable(body), "reason": reason})

    async def _fenced(self, statement: TextClause | TextualSelect, lease: Lease, **values: Any) -> RowMapping:
        """The row that a transition returns. Raises LeaseLost if it changed nothing."""
        async with connection(self._engine) as opened:
            found = await opened.execute(statement, {"id": lease.task_id, "attempt": lease.attempt, **values})
            row = found.mappings().one_or_none()
        return _held(row, lease)


async def _completed(opened: AsyncConnection, lease: Lease, values: Mapping[str, Any]) -> TaskEvent:
    found = await opened.execute(COMPLETE, values)
    return event_from(_held(found.mappings().one_or_none(), lease))


def _held(row: RowMapping | None, lease: Lease) -> RowMapping:
    if row is None:
        raise LeaseLost(f"attempt {lease.attempt} of task {lease.task_id} is no longer this worker's")
    return row


async def _missed(opened: AsyncConnection, task_id: UUID, kinds: Collection[str]) -> Claim:
    """Why a claim changed nothing; a task of an unknown kind is put off for another worker."""
    row = (await opened.execute(MISSED, {"id": task_id})).mappings().one_or_none()
    if row is None:
        return Unknown()
    if row["finished"]:
        return Finished()
    if row["remaining"] is not None:
        return LeasedElsewhere(row["remaining"])
    if row["kind"] not in kinds:
        await opened.execute(PUT_OFF, {"id": task_id, "seconds": PUT_OFF_SECONDS})
        return NoHandler(row["kind"])
    return NotDue()
