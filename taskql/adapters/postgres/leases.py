"""What workers do in PostgreSQL: the named transitions of a leased attempt.

Every transition is fenced: it takes effect only while its attempt is the one that runs. The dispatch row is
locked first and carries the fence; `at` is the moment of the change, on the database's clock.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres.batches import each_for_itself
from taskql.adapters.postgres.claims import LETTER, claim, reason
from taskql.adapters.postgres.engine import compact_json, connection, transaction
from taskql.adapters.postgres.revival import revive
from taskql.adapters.postgres.statement import Statement, hidden
from taskql.adapters.postgres.tables import (
    EVENT_COLUMNS,
    EVENT_SQL,
    Row,
    event_from,
    failure_json,
    task_from,
    values,
)
from taskql.adapters.postgres.tasks import due, insert
from taskql.errors import LeaseLost
from taskql.message import encode
from taskql.ports import (
    Claim,
    Completion,
    Revived,
    Success,
)
from taskql.queues import Queue
from taskql.storable import storable
from taskql.task import EVENT_FIELDS, JSON, Failure, Lease, NewTask, Progress, TaskEvent

HELD = """
    WHERE d.task_id = :id AND d.attempt = :attempt AND d.lease_expires_at IS NOT NULL
"""

CLOSE_ATTEMPT = """
    attempts = jsonb_set(t.attempts, '{-1}', (t.attempts -> -1) || jsonb_build_object(
        'finished_at', mine.at, 'outcome', CAST(:attempt_outcome AS text),
        'failure', CAST(:failure AS jsonb) - 'detail'))
"""

WRITTEN = tuple(name for name in EVENT_FIELDS if name != "result")
"""What a completion returns: its result has just been given, and may be large."""

EXTEND = Statement(f"""
UPDATE dispatch d SET lease_expires_at = clock_timestamp() + CAST(:lease_for AS interval) {HELD}
RETURNING d.task_id
""")

STILL_HELD = text("""
SELECT d.task_id, d.attempt FROM dispatch d
JOIN unnest(CAST(:ids AS uuid[]), CAST(:attempts AS integer[])) AS lease(task_id, attempt)
  ON d.task_id = lease.task_id AND d.attempt = lease.attempt
WHERE d.lease_expires_at IS NOT NULL
""")

PROGRESS = Statement(f"""
UPDATE tasks t
SET progress = CAST(:progress AS jsonb), version = t.version + 1, updated_at = clock_timestamp()
WHERE t.id = :id AND t.attempt = :attempt AND t.status = 'PROCESSING'
RETURNING {EVENT_SQL}
""")

COMPLETE = text(f"""
WITH mine AS (DELETE FROM dispatch d {HELD} RETURNING d.task_id, clock_timestamp() AS at)
UPDATE tasks t
SET status = 'COMPLETED', outcome = 'COMPLETED', version = t.version + 1, result = CAST(:result AS json),
    result_location = :location, updated_at = mine.at, finished_at = mine.at, {CLOSE_ATTEMPT}
FROM mine WHERE t.id = mine.task_id
RETURNING {EVENT_SQL}
""").columns(*EVENT_COLUMNS)

# The same for many; rows are locked in the order of their ids, so that two such can't deadlock.
COMPLETE_MANY = Statement(f"""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest({hidden("ids", "uuid[]")}, CAST(:attempts AS integer[]), CAST(:results AS json[]),
                         CAST(:locations AS text[])) AS given(task_id, attempt, result, location)
), held AS (
    SELECT d.task_id FROM dispatch d JOIN given ON d.task_id = given.task_id
    WHERE d.task_id = ANY({hidden("ids", "uuid[]")}) AND d.attempt = given.attempt
      AND d.lease_expires_at IS NOT NULL
    ORDER BY d.task_id FOR UPDATE OF d
), mine AS (
    DELETE FROM dispatch d WHERE d.task_id = ANY (ARRAY (SELECT task_id FROM held))
    RETURNING d.task_id, d.attempt, clock_timestamp() AS at
)
UPDATE tasks t
SET status = 'COMPLETED', outcome = 'COMPLETED', version = t.version + 1, result = given.result,
    result_location = given.location, updated_at = mine.at, finished_at = mine.at,
    attempts = jsonb_set(t.attempts, '{{-1}}', (t.attempts -> -1) || jsonb_build_object(
        'finished_at', mine.at, 'outcome', 'COMPLETED', 'failure', NULL))
FROM mine JOIN given ON given.task_id = mine.task_id AND given.attempt = mine.attempt
WHERE t.id = mine.task_id
RETURNING {", ".join(f"t.{name}" for name in WRITTEN)}, given.attempt AS fence
""")

FAIL = Statement(f"""
WITH mine AS (DELETE FROM dispatch d {HELD} RETURNING d.task_id, d.queue, clock_timestamp() AS at),
{LETTER}
UPDATE tasks t
SET status = 'FAILED', outcome = 'FAILED', version = t.version + 1, failure = CAST(:failure AS jsonb),
    updated_at = mine.at, finished_at = mine.at, {CLOSE_ATTEMPT}
FROM mine WHERE t.id = mine.task_id
RETURNING {EVENT_SQL}
""")

# A release gives its attempt back by raising max_attempts: attempt itself never falls.
BACK_TO_PENDING = Statement(f"""
WITH mine AS (
    UPDATE dispatch d
    SET lease_expires_at = NULL, sent_at = NULL, reserved_until = NULL,
        available_at = clock_timestamp() + CAST(:delay AS interval), returned_at = clock_timestamp()
    {HELD}
    RETURNING d.task_id, clock_timestamp() AS at
)
UPDATE tasks t
SET status = 'PENDING', version = t.version + 1, max_attempts = t.max_attempts + :given_back, progress = NULL,
    updated_at = mine.at, {CLOSE_ATTEMPT}
FROM mine WHERE t.id = mine.task_id
RETURNING {EVENT_SQL}
""")

REDRIVE = revive("t.id = :id AND t.attempt = :attempt AND t.status = 'FAILED'")

BURY = text("INSERT INTO dead_letters (reason, queue, body) VALUES (:reason, :queue, :body)")


class PostgresLeases:
    """BatchLeaseStore over an engine in autocommit.

    A task that has met only workers without its kind for `patience` is given up by the next one.
    """

    def __init__(self, engine: AsyncEngine, patience: timedelta) -> None:
        self._engine = engine
        self._patience = patience

    async def claim(self, task_id: UUID, kinds: Collection[str], lease_for: timedelta) -> Claim:
        [found] = await self.claim_many([task_id], kinds, lease_for)
        if isinstance(found, Exception):
            raise found
        return found

    async def claim_many(
        self, ids: Sequence[UUID], kinds: Collection[str], lease_for: timedelta
    ) -> list[Claim | Exception]:
        async def work(ids: Sequence[UUID]) -> list[Claim | Exception]:
            return await claim(self._engine, ids, kinds, lease_for, self._patience)

        return await each_for_itself(ids, work)

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
        if not follow_ups:
            [found] = await self._completed([Success(lease, result, location)])
            if isinstance(found, Exception):
                raise found
            return found
        values = {
            "id": lease.task_id,
            "attempt": lease.attempt,
            "result": compact_json(result),
            "location": location,
            "attempt_outcome": "COMPLETED",
            "failure": None,
        }
        async with transaction(self._engine) as opened:
            row = (await opened.execute(COMPLETE, values)).mappings().one_or_none()
            event = event_from(_held(row, lease))
            created = await insert(opened, follow_ups)
        return Completion(event, [created[index] for index in range(len(follow_ups))])

    async def complete_many(self, successes: Sequence[Success]) -> list[Completion | Exception]:
        return await each_for_itself(successes, self._completed)

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
                reason=reason(failure),
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

    async def _completed(self, successes: Sequence[Success]) -> list[Completion | Exception]:
        rows = await COMPLETE_MANY.rows(
            self._engine,
            ids=[each.lease.task_id for each in successes],
            attempts=[each.lease.attempt for each in successes],
            results=[compact_json(each.result) for each in successes],
            locations=[each.location for each in successes],
        )
        done = {Lease(row["id"], row["fence"]): row for row in rows}
        # Of a lease that is named twice, one outcome is recorded, and one caller told so.
        return [_completion(each, done.pop(each.lease, None)) for each in successes]

    async def _fenced(self, statement: Statement, lease: Lease, **values: Any) -> Row:
        """The row that a transition returns. Raises LeaseLost if it changed nothing."""
        rows = await statement.rows(self._engine, id=lease.task_id, attempt=lease.attempt, **values)
        return _held(rows[0] if rows else None, lease)


def _completion(success: Success, row: Row | None) -> Completion | LeaseLost:
    if row is None:
        return _lost(success.lease)
    return Completion(TaskEvent(result=success.result, **values(row, WRITTEN)))


def _held(row: Row | None, lease: Lease) -> Row:
    if row is None:
        raise _lost(lease)
    return row


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"attempt {lease.attempt} of task {lease.task_id} is no longer this worker's")
