"""A listing of tasks: which ones, and which page of them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from taskql.lifecycle import TaskStatus
from taskql.queues import TaskPriority
from taskql.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks to list; None is no restriction, an empty collection matches nothing.

    Of `tags` a task must have all, and so an empty collection restricts nothing.
    """

    status: Collection[TaskStatus] | None = None
    kind: Collection[str] | None = None
    priority: Collection[TaskPriority] | None = None
    ordering_key: str | None = None
    tags: Collection[str] | None = None
    title_contains: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    updated_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order of (created_at, id)."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """`limit` tasks from one end of what lies between `after` and `before` in the listing's direction.

    `backward` takes them from the far end (`last`); the page itself is in listing order all the same.
    """

    limit: int
    descending: bool = True
    backward: bool = False
    after: Position | None = None
    before: Position | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Tasks in listing order, and whether there are more beyond either end."""

    tasks: tuple[Task, ...]
    has_previous: bool
    has_next: bool
