"""Who tells of changes, who hears of them, and who remembers the newest state."""

from collections.abc import AsyncIterator
from enum import Enum
from typing import Protocol
from uuid import UUID

from taskql.task import Task, TaskEvent


class EventSink(Protocol):
    def publish(self, event: TaskEvent) -> None:
        """Tell whoever watches. Never blocks and never fails: what gets lost, watchers find in PostgreSQL."""
        ...

    def forget(self, task_id: UUID) -> None:
        """The task is deleted: no cache shall know it any more. Never blocks and never fails."""
        ...


class Hearing(Enum):
    """What a source says of itself, between the events."""

    LOST = "lost"
    """Nothing is heard from now on; what is watched has to be looked at."""
    BACK = "back"
    """All that is watched is heard again, or as well as ever; something may have been missed until now."""


class EventSource(Protocol):
    """Events of the tasks that this process watches, over one connection (to each node of a cluster)."""

    async def watch(self, task_id: UUID) -> None:
        """Returns when the task's events are on their way to us, or raises Unavailable."""
        ...

    async def unwatch(self, task_id: UUID) -> None: ...

    async def watch_owner(self, owner: str) -> None:
        """The same for all tasks of an owner."""
        ...

    async def unwatch_owner(self, owner: str) -> None: ...

    def events(self) -> AsyncIterator[TaskEvent | Hearing]:
        """Events as they come; one of a task that is watched in both ways may come twice."""
        ...


class SnapshotCache(Protocol):
    """The newest known state of tasks that have changed or been read lately. May lack any of them."""

    async def fetch(self, task_id: UUID) -> Task | None:
        """None where it is not known, or the cache is away. The caller checks whose task it is."""
        ...

    def keep(self, task: Task) -> None:
        """Remember what was read from PostgreSQL, unless something newer is known. Never blocks or fails."""
        ...
