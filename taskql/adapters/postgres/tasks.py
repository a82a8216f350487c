"""What clients ask of PostgreSQL: `owner` stands in the WHERE of every request."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import (
    Select,
    Uuid,
    column,
    select,
    text,
    tuple_,
)
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from taskql.adapters.postgres.changes import CREATED_SINCE, TOUCHED_SINCE
from taskql.adapters.postgres.engine import APPLICATION, compact_json, connection
from taskql.adapters.postgres.filters import is_one_of, owned_by
from taskql.adapters.postgres.ordering import place, take_places
from taskql.adapters.postgres.statement import Statement, hidden
from taskql.adapters.postgres.tables import TASK_COLUMNS, TASK_SQL, Row, task_from, tasks, timestamp
from taskql.ports import Conflict, Created, Creation, Dispatch, Existing, Newer, NotStored
from taskql.task import NewTask, Task

log = logging.getLogger(__name__)

IS_DUE = "(t.ordering_key IS NULL AND coalesce(t.run_at <= now(), true))"
"""Whether a task that has just been stored may be sent; what runs in order has to be unblocked first."""

AS_OF_MARGIN_SECONDS = 1

RESERVED_UNTIL = "now() + interval '5 seconds'"
"""How long such a task is left to the process that stored it, before a sweep may send it."""

# Rows are inserted in the order of their keys, so that two batches with keys in common can't deadlock; ids
# are made in the order of the items, so that they sort as the client gave them.
CREATE = f"""
WITH items AS MATERIALIZED (
    SELECT item, coalesce(given_id, uuidv7()) AS id, owner, kind, title, description, input, max_attempts,
           priority, ordering_key, ordering_group, queue,
           ARRAY(SELECT jsonb_array_elements_text(tags)) AS tags, run_at, expires_at, key, hash, trace
    FROM unnest(
        {hidden("owners", "text[]")}, CAST(:kinds AS text[]), CAST(:titles AS text[]),
        CAST(:descriptions AS text[]), CAST(:inputs AS json[]), CAST(:max_attempts AS integer[]),
        CAST(:priorities AS text[]), CAST(:ordering_keys AS text[]), CAST(:ordering_groups AS text[]),
        CAST(:queues AS text[]), CAST(:tags AS jsonb[]), CAST(:run_ats AS timestamptz[]),
        CAST(:expires_ats AS timestamptz[]), CAST(:keys AS text[]), CAST(:hashes AS bytea[]),
        CAST(:ids AS uuid[]), CAST(:traces AS jsonb[])
    ) WITH ORDINALITY AS given(
        owner, kind, title, description, input, max_attempts, priority, ordering_key, ordering_group, queue,
        tags, run_at, expires_at, key, hash, given_id, trace, item
    )
), places AS (
    {take_places("items")}
), placed AS (
    SELECT items.*, {place("item")} AS ordering_number
    FROM items LEFT JOIN places ON places.name = items.ordering_group
), stored AS (
    INSERT INTO tasks AS t
        (id, owner, kind, title, description, input, max_attempts, priority, ordering_key, ordering_number,
         tags, run_at, expires_at, idempotency_key, request_hash, trace_context)
    SELECT id, owner, kind, title, description, input, max_attempts, priority, ordering_key, ordering_number,
           tags, run_at, expires_at, key, hash, trace
    FROM placed ORDER BY owner, key, item
    ON CONFLICT (owner, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING {TASK_SQL}
), dispatched AS (
    INSERT INTO dispatch
        (task_id, queue, available_at, expires_at, ordering_group, ordering_number, blocked, reserved_until)
    SELECT id, queue, greatest(placed.run_at, now()), placed.expires_at, ordering_group, ordering_number,
           ordering_group IS NOT NULL, CASE WHEN {IS_DUE} THEN {RESERVED_UNTIL} END
    FROM stored AS t JOIN placed USING (id)
)
SELECT t.*, items.item, {IS_DUE} AS is_due FROM stored AS t JOIN items USING (id)
"""
CREATE_ALONE = Statement(CREATE)
CREATE_WITHIN = text(CREATE).columns(*TASK_COLUMNS, column("item"), column("is_due"))
"""The same, as a part of a transaction."""

REFUSALS = (DBAPIError, asyncpg.PostgresError)

# OFFSET makes it look up each row; a plain join it may perform by reading the whole table.
NEWER = text(f"""
SELECT known.id AS known_id, {TASK_SQL}
FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS integer[])) AS known(id, version)
LEFT JOIN LATERAL (SELECT * FROM tasks WHERE tasks.id = known.id OFFSET 0) t ON true
WHERE t.id IS NULL OR t.version > known.version
""").columns(column("known_id", Uuid), *TASK_COLUMNS)

# Each part has an index of its own: no index names `updated_at`, but a finished task last changed at its end.
CHANGED_SINCE = text(f"""
SELECT {TASK_SQL} FROM tasks t WHERE {CREATED_SINCE}
UNION ALL
SELECT {TASK_SQL} FROM tasks t WHERE {TOUCHED_SINCE}
UNION ALL
SELECT {TASK_SQL} FROM tasks t
WHERE t.owner = :owner AND t.finished_at > :moment
ORDER BY updated_at FETCH FIRST :limit ROWS WITH TIES
""").columns(*TASK_COLUMNS)

# A change is dated after its transaction began. One that has just begun may not show for a moment, if its
# process was not let run since it read the clock: hence the margin.
AS_OF = text(f"""
SELECT least(now(), min(xact_start)) - interval '{AS_OF_MARGIN_SECONDS} seconds' AS moment
FROM pg_stat_activity WHERE datname = current_database() AND application_name = '{APPLICATION}'
""").columns(column("moment", timestamp))


class PostgresTasks:
    """TaskStore over an engine in autocommit."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, tasks: Sequence[NewTask]) -> list[Creation]:
        creations: dict[int, Creation] = {}
        await self._create_all(tasks, creations)
        return [creations[index] for index in range(len(tasks))]

    async def _create_all(self, tasks: Sequence[NewTask], creations: dict[int, Creation]) -> None:
        """Fills in what becomes of each task, by its place: all that is known, where it is broken off."""
        try:
            await self._create(tasks, creations)
        except REFUSALS as error:
            if len(tasks) == 1:
                raise
            log.warning("a batch of %d tasks was refused (%s): one by one", len(tasks), type(error).__name__)
            for index in range(len(tasks)):
                if index not in creations:  # what is stored by now is not stored again
                    creations[index] = await self._create_alone(tasks[index])

    async def repeated(self, task: NewTask) -> Existing | Conflict | None:
        async with connection(self._engine) as opened:
            return _repeated(task, await _holders(opened, [task]))

    async def _create_alone(self, task: NewTask) -> Creation:
        creations: dict[int, Creation] = {}
        try:
            await self._create([task], creations)
        except REFUSALS as error:
            return NotStored(error)
        return creations[0]

    async def _create(self, tasks: Sequence[NewTask], creations: dict[int, Creation]) -> None:
        # A holder of a key can be deleted between the insert and the look-up: then the key is free again.
        while missing := [index for index in range(len(tasks)) if index not in creations]:
            wanted = [tasks[index] for index in missing]
            stored = created(await CREATE_ALONE.rows(self._engine, **columns_of(wanted)))
            creations.update({missing[number]: creation for number, creation in stored.items()})
            if len(stored) == len(wanted):
                return
            async with connection(self._engine) as opened:
                holders = await _holders(opened, wanted)
            for number, index in enumerate(missing):
                if number not in stored and (creation := _repeated(wanted[number], holders)):
                    creations[index] = creation

    async def fetch(self, owner: str | None, ids: Collection[UUID]) -> dict[UUID, Task]:
        query = select(*TASK_COLUMNS).where(*owned_by(owner), is_one_of(ids))
        return {task.id: task for task in map(task_from, await self._rows(query))}

    async def newer(self, known: Mapping[UUID, int]) -> Newer:
        values = {"ids": list(known), "versions": list(known.values())}
        async with connection(self._engine) as opened:
            rows = (await opened.execute(NEWER, values)).mappings().all()
        return Newer(
            tasks=[task_from(row) for row in rows if row["id"] is not None],
            gone=[row["known_id"] for row in rows if row["id"] is None],
        )

    async def changed_since(self, owner: str, moment: datetime, limit: int) -> list[Task]:
        async with connection(self._engine) as opened:
            found = await opened.execute(CHANGED_SINCE, {"owner": owner, "moment": moment, "limit": limit})
            return [task_from(row) for row in found.mappings()]

    async def as_of(self) -> datetime:
        async with connection(self._engine) as opened:
            moment: datetime = (await opened.execute(AS_OF)).scalar_one()
            return moment

    async def ping(self) -> None:
        async with connection(self._engine) as opened:
            await opened.exec_driver_sql("SELECT 1")

    async def _rows(self, query: Select[tuple[object, ...]]) -> Sequence[RowMapping]:
        async with connection(self._engine) as opened:
            return (await opened.execute(query)).mappings().all()


async def insert(opened: AsyncConnection, new: Sequence[NewTask]) -> dict[int, Created]:
    """Store what meets no idempotency key; the creations by their place in `new`."""
    return created((await opened.execute(CREATE_WITHIN, columns_of(new))).mappings())


def columns_of(new: Sequence[NewTask]) -> dict[str, list[Any]]:
    """The values of `CREATE`."""
    return {
        "owners": [task.owner for task in new],
        "kinds": [task.kind for task in new],
        "titles": [task.title for task in new],
        "descriptions": [task.description for task in new],
        "inputs": [compact_json(task.input) for task in new],
        "max_attempts": [task.max_attempts for task in new],
        "priorities": [task.priority.value for task in new],
        "ordering_keys": [task.ordering_key for task in new],
        "ordering_groups": [task.ordering_group for task in new],
        "queues": [task.queue.value for task in new],
        "tags": [compact_json(task.tags) for task in new],
        "run_ats": [task.run_at for task in new],
        "expires_ats": [task.expires_at for task in new],
        "keys": [task.idempotency_key for task in new],
        "hashes": [task.request_hash for task in new],
        "ids": [task.id for task in new],
        "traces": [trace_context(task) for task in new],
    }


def created(rows: Iterable[Row]) -> dict[int, Created]:
    return {row["item"] - 1: Created(task := task_from(row), due(task, row)) for row in rows}


def trace_context(task: NewTask) -> str | None:
    return None if task.traceparent is None else compact_json({"traceparent": task.traceparent})


def due(task: Task, row: Row) -> Dispatch | None:
    """What to send of a task that has just been stored or revived."""
    return Dispatch(task.id, task.queue, task.attempt) if row["is_due"] else None


async def _holders(opened: AsyncConnection, wanted: Sequence[NewTask]) -> dict[tuple[str, str], RowMapping]:
    """The tasks that hold the idempotency keys of `wanted`."""
    keys = [(task.owner, task.idempotency_key) for task in wanted if task.idempotency_key is not None]
    query = select(*TASK_COLUMNS, tasks.c.idempotency_key, tasks.c.request_hash).where(
        tuple_(tasks.c.owner, tasks.c.idempotency_key).in_(keys)
    )
    rows = (await opened.execute(query)).mappings()
    return {(row["owner"], row["idempotency_key"]): row for row in rows}


def _repeated(new: NewTask, holders: dict[tuple[str, str], RowMapping]) -> Existing | Conflict | None:
    """What a request meets whose key is held: the same request's task, or another's."""
    assert new.idempotency_key is not None
    holder = holders.get((new.owner, new.idempotency_key))
    if holder is None:
        return None
    same = holder["request_hash"] == new.request_hash
    return Existing(task_from(holder)) if same else Conflict(holder["id"])
