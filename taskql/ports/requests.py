"""What clients ask for: tasks stored, found and steered; `owner` stands in the WHERE of every request.

With None for the owner it is for everybody's tasks: that is for administrators, as the caller sees to.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from taskql.listing import Page, PageRequest, TaskFilter
from taskql.queues import Queue
from taskql.task import NewTask, Task
from taskql.value import value_class


@value_class()
class Dispatch:
    """A task that wants to be sent: enough to do so, and to tell a stale sending from a new one.

    A task that runs in order with others has the group's name and its place there.
    """

    task_id: UUID
    queue: Queue
    attempt: int
    sends: int = 0
    ordering_group: str | None = None
    ordering_number: int | None = None


@value_class()
class Created:
    """The task was stored. What may be sent at once is reserved for the process that stored it."""

    task: Task
    dispatch: Dispatch | None


@dataclass(frozen=True, slots=True)
class Existing:
    """The same request under the same idempotency key was stored before."""

    task: Task


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another request holds the idempotency key."""

    task_id: UUID


@dataclass(frozen=True, slots=True)
class NotStored:
    """One task of several that PostgreSQL would not take, for a reason that nobody foresaw."""

    error: Exception


Creation = Created | Existing | Conflict | NotStored


class Outbox(Protocol):
    """The relay of this process, as those see it who have stored something. Never blocks."""

    def offer(self, dispatches: Sequence[Dispatch]) -> None:
        """Send these soon: they are stored and reserved for this process."""
        ...

    def wake(self, groups: Collection[str] = ()) -> None:
        """Look at once for what has become due; in these ordering groups a task has come or gone."""
        ...


@dataclass(frozen=True, slots=True)
class Newer:
    """Tasks that have moved on, and those that are no more."""

    tasks: Sequence[Task]
    gone: Collection[UUID]


class TaskStore(Protocol):
    """The requests of clients."""

    async def create(self, tasks: Sequence[NewTask]) -> list[Creation]:
        """Store tasks with their dispatch rows in one transaction; an outcome per item, in order.

        Where that fails, each is stored alone, so that one that can't be stored fails no other.
        """
        ...

    async def repeated(self, task: NewTask) -> Existing | Conflict | None:
        """What a request would meet whose idempotency key is held; None where it is not."""
        ...

    async def fetch(self, owner: str | None, ids: Collection[UUID]) -> dict[UUID, Task]:
        """Those of `ids` that exist and are the owner's."""
        ...

    async def newer(self, known: Mapping[UUID, int]) -> Newer:
        """What has become of tasks since the version that is known of each, by one query."""
        ...

    async def changed_since(self, owner: str, moment: datetime, limit: int) -> list[Task]:
        """The owner's tasks that changed later than `moment`, the earliest change first.

        About `limit`: with the last one come all that changed at the same moment, so that the next page can
        begin there.
        """
        ...

    async def as_of(self) -> datetime:
        """A moment before which nothing changes any more: no transaction that still runs began before it."""
        ...

    async def ping(self) -> None: ...


class TaskListings(Protocol):
    """Tasks in the order of their creation. Shows what was committed when it was asked."""

    async def page(self, owner: str | None, filter: TaskFilter, request: PageRequest) -> Page: ...

    async def count(self, owner: str | None, filter: TaskFilter, limit: int) -> int:
        """How many tasks match, counting no further than `limit`."""
        ...


@dataclass(frozen=True, slots=True)
class Revived:
    """A terminal task that is PENDING again. What may be sent at once is reserved for this process."""

    task: Task
    dispatch: Dispatch | None


class TaskControl(Protocol):
    """What clients do to tasks that exist. Each answers None, or less, where the task's status forbids it."""

    async def cancel(self, owner: str | None, task_id: UUID) -> Task | None:
        """CANCELLED at once, if it is not terminal; an attempt that runs thereby loses its lease."""
        ...

    async def retry(
        self, owner: str | None, ids: Collection[UUID], max_attempts: Mapping[str, int]
    ) -> list[Revived]:
        """PENDING again, those that are FAILED or CANCELLED, with `max_attempts` more by kind."""
        ...

    async def failed(self, owner: str | None, filter: TaskFilter, limit: int) -> list[UUID]:
        """The oldest FAILED tasks that match."""
        ...

    async def delete(self, owner: str | None, task_id: UUID) -> bool:
        """Gone, if it is terminal."""
        ...
