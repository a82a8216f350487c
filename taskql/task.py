"""The task and its parts, as values.

Invariant: `TaskEvent` holds all that changes in a task's life, `Task` adds what never does; so a task plus
the event of a newer version is the task at that version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from taskql.lifecycle import AttemptOutcome, TaskStatus
from taskql.queues import Queue, TaskPriority, ordering_group, queue_of
from taskql.value import value_class

JSON = Any
"""What JSON can express: None, bool, int, float (finite), str, list, dict with str keys."""

MAX_ATTEMPTS_KEPT = 20
MAX_FAILURE_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt or a task failed. `message` is safe to show to the task's owner.

    `detail` holds a declared failure's fields, and its name as `__typename`; attempts don't keep it.
    """

    code: str
    message: str
    retryable: bool
    detail: JSON = None


@value_class()
class Attempt:
    """One execution; `finished_at` and `outcome` are None while it runs."""

    number: int
    started_at: datetime
    finished_at: datetime | None = None
    outcome: AttemptOutcome | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running attempt says it is: `fraction` from 0 to 1."""

    fraction: float
    message: str | None = None


@value_class(kw_only=True)
class TaskEvent:
    """All that changes in a task's life, at one version, and whose it is. Travels over Redis.

    A result that is too large for PostgreSQL is not in `result`, but where `result_location` says.
    """

    id: UUID
    owner: str
    status: TaskStatus
    version: int
    attempt: int
    max_attempts: int
    attempts: tuple[Attempt, ...]
    progress: Progress | None
    result: JSON
    result_location: str | None = None
    failure: Failure | None
    expires_at: datetime | None
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@value_class(kw_only=True)
class Task(TaskEvent):
    """A stored task, whole, at one version."""

    kind: str
    title: str
    description: str | None
    input: JSON
    priority: TaskPriority
    ordering_key: str | None
    tags: tuple[str, ...]
    run_at: datetime | None
    created_at: datetime

    @property
    def queue(self) -> Queue:
        return queue_of(self.priority, self.ordering_key)

    @property
    def ordering_group(self) -> str | None:
        """What the task runs in order with; None for a task that runs whenever it can."""
        return ordering_group(self.owner, self.ordering_key)

    def at(self, event: TaskEvent) -> "Task":
        """This task as `event` describes it."""
        return replace(self, **{name: getattr(event, name) for name in EVENT_FIELDS})


EVENT_FIELDS = tuple(field.name for field in fields(TaskEvent))
TASK_FIELDS = tuple(field.name for field in fields(Task))


@value_class(kw_only=True)
class NewTask:
    """A task that a client asks for, checked and ready to be stored.

    `request_hash` covers what the client sent, before defaults: it tells a repeated request from another one
    under the same idempotency key. `id` is given where whoever asks has to know it beforehand.
    """

    owner: str
    kind: str
    title: str
    description: str | None
    input: Mapping[str, JSON]
    max_attempts: int
    priority: TaskPriority = TaskPriority.NORMAL
    ordering_key: str | None = None
    tags: Sequence[str] = ()
    run_at: datetime | None = None
    expires_at: datetime | None = None
    idempotency_key: str | None = None
    request_hash: bytes | None = None
    id: UUID | None = None
    traceparent: str | None = None

    @property
    def queue(self) -> Queue:
        return queue_of(self.priority, self.ordering_key)

    @property
    def ordering_group(self) -> str | None:
        return ordering_group(self.owner, self.ordering_key)


@value_class()
class Lease:
    """The right to finish one attempt; whoever holds a stale one cannot write."""

    task_id: UUID
    attempt: int
