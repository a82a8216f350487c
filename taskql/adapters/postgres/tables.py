"""The columns that queries name. The schema itself is in taskql/migrations; a test holds the two together."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import JSON, Column, DateTime, Integer, LargeBinary, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from taskql.lifecycle import AttemptOutcome, TaskStatus
from taskql.ports import DeadLetter, Dispatch
from taskql.queues import Queue, TaskPriority
from taskql.task import EVENT_FIELDS, TASK_FIELDS, Attempt, Failure, Progress, Task, TaskEvent

metadata = MetaData()
timestamp = DateTime(timezone=True)

tasks = Table(
    "tasks",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text),
    Column("input", JSON, nullable=False),
    Column("tags", ARRAY(Text), nullable=False),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("priority", Text, nullable=False),
    Column("ordering_key", Text),
    Column("idempotency_key", Text),
    Column("request_hash", LargeBinary),
    Column("attempt", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("attempts", JSONB, nullable=False),
    Column("progress", JSONB),
    Column("result", JSON),
    Column("result_location", Text),
    Column("failure", JSONB),
    Column("run_at", timestamp),
    Column("expires_at", timestamp),
    Column("created_at", timestamp, nullable=False),
    Column("updated_at", timestamp, nullable=False),
    Column("outcome", Text),
    Column("started_at", timestamp),
    Column("finished_at", timestamp),
)

task_tags = Table(
    "task_tags",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("created_at", timestamp, primary_key=True),
    Column("task_id", Uuid, primary_key=True),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("body", Text),
    Column("task_id", Uuid),
    Column("attempt", Integer),
    Column("queue", Text, nullable=False),
    Column("at", timestamp, nullable=False),
)

TASK_COLUMNS = tuple(tasks.c[name] for name in TASK_FIELDS)
EVENT_COLUMNS = tuple(tasks.c[name] for name in EVENT_FIELDS)
TASK_SQL = ", ".join(f"t.{name}" for name in TASK_FIELDS)
EVENT_SQL = ", ".join(f"t.{name}" for name in EVENT_FIELDS)
"""The same, for statements written as text; `t` is the task."""

QUEUE = "CASE WHEN t.ordering_key IS NOT NULL THEN 'fifo' ELSE lower(t.priority) END"
"""A task's `taskql.queues.queue_of`."""

DISPATCH_SQL = "d.task_id, d.queue, d.attempt, d.sends, d.ordering_group, d.ordering_number"
"""A dispatch row as a Dispatch; `d` is the row."""


class Row(Protocol):
    """Columns by their names: a row of SQLAlchemy's, or a record of asyncpg's, whose values are the same."""

    def __getitem__(self, name: str, /) -> Any: ...


def task_from(row: Row) -> Task:
    found = values(row, TASK_FIELDS)
    found["run_at"] = in_utc(found["run_at"])
    found["priority"] = TaskPriority(found["priority"])
    found["tags"] = tuple(found["tags"])
    return Task(**found)


def event_from(row: Row) -> TaskEvent:
    return TaskEvent(**values(row, EVENT_FIELDS))


def dispatch_from(row: Row) -> Dispatch:
    found = {field.name: row[field.name] for field in fields(Dispatch)}
    return Dispatch(**found | {"queue": Queue(found["queue"])})


def letter_from(row: Row) -> DeadLetter:
    found = {field.name: row[field.name] for field in fields(DeadLetter)}
    return DeadLetter(**found | {"queue": Queue(found["queue"])})


def values(row: Row, names: tuple[str, ...]) -> dict[str, Any]:
    """A row's columns as the fields of a TaskEvent or Task."""
    found = {name: row[name] for name in names}
    found["status"] = TaskStatus(found["status"])
    found["attempts"] = tuple(map(attempt_from, found["attempts"]))
    found["progress"] = Progress(**found["progress"]) if found["progress"] else None
    found["expires_at"] = in_utc(found["expires_at"])
    found["failure"] = Failure(**found["failure"]) if found["failure"] else None
    return found


def attempt_from(stored: Mapping[str, Any]) -> Attempt:
    """By hand: most rows have one, and pydantic would take longer over it than all the rest takes."""
    outcome, failure = stored.get("outcome"), stored.get("failure")
    return Attempt(
        stored["number"],
        datetime.fromisoformat(stored["started_at"]),
        datetime.fromisoformat(stored["finished_at"]) if stored.get("finished_at") else None,
        AttemptOutcome(outcome) if outcome else None,
        Failure(**failure) if failure else None,
    )


def in_utc(moment: datetime | None) -> datetime | None:
    """The driver takes the first and the last moment for PostgreSQL's infinities, which lack a time zone."""
    return moment and moment.replace(tzinfo=UTC)


def failure_json(failure: Failure) -> dict[str, Any]:
    """As it is stored for a task; of an attempt, `CLOSE_ATTEMPT` leaves the detail out."""
    found = asdict(failure)
    if failure.detail is None:
        del found["detail"]
    return found
