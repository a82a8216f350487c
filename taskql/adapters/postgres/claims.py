"""Claims in PostgreSQL, and what becomes of a task that met a worker which does not know its kind.

Such a task waits for another worker, and is given up when that takes too long. Neither is an attempt: only a
claim is, and it ends the wait. Whatever changes the task takes effect only while it may begin.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
from sqlalchemy import text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from taskql.adapters.postgres.engine import compact_json, connection
from taskql.adapters.postgres.statement import Statement, hidden
from taskql.adapters.postgres.tables import (
    EVENT_COLUMNS,
    EVENT_SQL,
    TASK_SQL,
    event_from,
    failure_json,
    task_from,
)
from taskql.message import encode
from taskql.ports import (
    Claim,
    Claimed,
    Finished,
    GivenUp,
    LeasedElsewhere,
    NoHandler,
    NotDue,
    Unknown,
)
from taskql.task import MAX_ATTEMPTS_KEPT, Failure, Lease, TaskEvent

PUT_OFF_SECONDS = 10
"""How long a task waits that came to a worker which does not know its kind."""

LETTER = """
letter AS (
    INSERT INTO dead_letters (reason, task_id, owner, attempt, queue, body, at)
    SELECT CAST(:reason AS text), t.id, t.owner, t.attempt, mine.queue, CAST(:body AS text), mine.at
    FROM mine JOIN tasks t ON t.id = mine.task_id
)
"""
"""The dead letter of the task that a statement ends; `mine` is what was its dispatch row."""

OPEN_ATTEMPT = f"""
    attempts = CASE WHEN jsonb_array_length(t.attempts) < {MAX_ATTEMPTS_KEPT}
                    THEN t.attempts ELSE t.attempts - 0 END
        || jsonb_build_object('number', mine.attempt, 'started_at', mine.at)
"""

MAY_BEGIN = """
    d.lease_expires_at IS NULL AND d.available_at <= clock_timestamp() AND NOT d.blocked
    AND (d.expires_at IS NULL OR d.expires_at > clock_timestamp())
"""
"""Whether the next attempt may begin now; `d` is the dispatch row."""

# Rows are locked in the order of their ids, so that two claims with tasks in common can't deadlock.
CLAIM = Statement(f"""
WITH free AS (
    SELECT d.task_id FROM dispatch d
    WHERE d.task_id = ANY({hidden("ids", "uuid[]")}) AND {MAY_BEGIN}
      AND (SELECT t.kind FROM tasks t WHERE t.id = d.task_id) = ANY(CAST(:kinds AS text[]))
    ORDER BY d.task_id FOR UPDATE OF d
), mine AS (
    UPDATE dispatch d
    SET attempt = d.attempt + 1, lease_expires_at = clock_timestamp() + CAST(:lease_for AS interval),
        sent_at = coalesce(d.sent_at, now()), reserved_until = NULL, expires_at = NULL, unknown_since = NULL
    WHERE d.task_id = ANY (ARRAY (SELECT task_id FROM free))
    RETURNING d.task_id, d.attempt, clock_timestamp() AS at
)
UPDATE tasks t
SET status = 'PROCESSING', version = t.version + 1, attempt = mine.attempt, progress = NULL,
    started_at = coalesce(t.started_at, mine.at), updated_at = mine.at, {OPEN_ATTEMPT}
FROM mine WHERE t.id = mine.task_id
RETURNING {TASK_SQL}, t.trace_context ->> 'traceparent' AS traceparent
""")

# PostgreSQL's greatest() passes over nulls: without the CASE, a task that nobody leases would seem leased.
MISSED = text("""
SELECT t.id, t.kind, t.attempt, d.task_id IS NULL AS finished,
       CASE WHEN d.lease_expires_at IS NOT NULL
            THEN greatest(d.lease_expires_at - clock_timestamp(), interval '0') END AS remaining
FROM tasks t LEFT JOIN dispatch d ON d.task_id = t.id
WHERE t.id = ANY(CAST(:ids AS uuid[]))
""")

PUT_OFF = text(f"""
UPDATE dispatch d
SET unknown_since = coalesce(d.unknown_since, now()),
    available_at = least(now() + make_interval(secs => {PUT_OFF_SECONDS}),
                         coalesce(d.unknown_since, now()) + CAST(:patience AS interval)),
    sent_at = NULL, reserved_until = NULL, sends = d.sends + (d.sent_at IS NULL)::integer
WHERE d.task_id = :id AND {MAY_BEGIN}
""")

GIVE_UP = text(f"""
WITH mine AS (
    DELETE FROM dispatch d
    WHERE d.task_id = :id AND d.attempt = :attempt AND {MAY_BEGIN}
      AND d.unknown_since <= clock_timestamp() - CAST(:patience AS interval)
    RETURNING d.task_id, d.queue, clock_timestamp() AS at
), {LETTER}
UPDATE tasks t
SET status = 'FAILED', outcome = 'FAILED', version = t.version + 1, failure = CAST(:failure AS jsonb),
    updated_at = mine.at, finished_at = mine.at
FROM mine WHERE t.id = mine.task_id
RETURNING {EVENT_SQL}
""").columns(*EVENT_COLUMNS)


async def claim(
    engine: AsyncEngine,
    ids: Sequence[UUID],
    kinds: Collection[str],
    lease_for: timedelta,
    patience: timedelta,
) -> list[Claim | Exception]:
    """The next attempt of each task, or why there is none; of a task that is named twice, one claim wins.

    Once attempts have begun, what goes wrong with other tasks is those tasks' alone: an attempt that its
    worker is not told of is lost.
    """
    rows = await CLAIM.rows(engine, ids=list(set(ids)), kinds=list(kinds), lease_for=lease_for)
    won = {row["id"]: row for row in rows}
    claims = [_claimed(won.pop(id)) if id in won else None for id in ids]
    missed = {id for id, claim in zip(ids, claims, strict=True) if claim is None}
    misses: Mapping[UUID, Claim | Exception] = {}
    try:
        if missed:
            misses = await _misses(engine, missed, kinds, patience)
    except Exception as error:
        misses = dict.fromkeys(missed, error)
    return [claim or misses[id] for id, claim in zip(ids, claims, strict=True)]


def _claimed(row: asyncpg.Record) -> Claimed | Exception:
    try:
        task = task_from(row)
    except Exception as error:  # a newer version's row, say
        return error
    return Claimed(Lease(task.id, task.attempt), task, row["traceparent"])


async def _misses(
    engine: AsyncEngine, ids: Collection[UUID], kinds: Collection[str], patience: timedelta
) -> dict[UUID, Claim]:
    """Why claims changed nothing, each."""
    async with connection(engine) as opened:
        rows = (await opened.execute(MISSED, {"ids": list(ids)})).mappings().all()
        found = {row["id"]: row for row in rows}
        return {id: await _missed(opened, id, found.get(id), kinds, patience) for id in sorted(ids)}


async def _missed(
    opened: AsyncConnection,
    task_id: UUID,
    row: RowMapping | None,
    kinds: Collection[str],
    patience: timedelta,
) -> Claim:
    """Why; a task of an unknown kind waits for another worker, or is given up."""
    if row is None:
        return Unknown()
    if row["finished"]:
        return Finished()
    if row["remaining"] is not None:
        return LeasedElsewhere(row["remaining"])
    if row["kind"] in kinds:
        return NotDue()
    if event := await _given_up(opened, task_id, row, patience):
        return GivenUp(event)
    put_off = await opened.execute(PUT_OFF, {"id": task_id, "patience": patience})
    return NoHandler(row["kind"]) if put_off.rowcount else NotDue()


async def _given_up(
    opened: AsyncConnection, task_id: UUID, missed: RowMapping, patience: timedelta
) -> TaskEvent | None:
    failure = unknown_kind(missed["kind"], patience)
    values = {
        "id": task_id,
        "attempt": missed["attempt"],
        "patience": patience,
        "failure": compact_json(failure_json(failure)),
        "reason": reason(failure),
        "body": encode(task_id),
    }
    row = (await opened.execute(GIVE_UP, values)).mappings().one_or_none()
    return event_from(row) if row else None


def unknown_kind(kind: str, patience: timedelta) -> Failure:
    return Failure(
        "UNKNOWN_KIND",
        f"For {patience.total_seconds():g} s this task met only workers that do not know the kind {kind!r}. "
        "Deploy a worker that has its handler, then retry the task.",
        retryable=True,
    )


def reason(failure: Failure) -> str:
    """Of a dead letter."""
    return f"{failure.code}: {failure.message}"
