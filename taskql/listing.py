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

    def matches(self, task: Task) -> bool:
        """Whether a listing with this filter would have the task: the same as the adapter's SQL says."""
        return (
            (self.status is None or task.status in self.status)
            and (self.kind is None or task.kind in self.kind)
            and (self.priority is None or task.priority in self.priority)
            and (self.ordering_key is None or task.ordering_key == self.ordering_key)
            and (self.tags is None or set(self.tags) <= set(task.tags))
            and (self.title_contains is None or has_part(task.title, self.title_contains))
            and (self.created_after is None or task.created_at > self.created_after)
            and (self.created_before is None or task.created_at < self.created_before)
            and (self.updated_after is None or task.updated_at > self.updated_after)
        )


def has_part(text: str, part: str) -> bool:
    """Whether `part` is somewhere in `text`; capitals don't matter."""
    return without_case(part) in without_case(text)


def without_case(text: str) -> str:
    """Letter by letter, by Unicode's simple mapping, as PostgreSQL's `pg_c_utf8` has it."""
    if text.isascii():
        return text.lower()
    # Only this capital has more than one small letter in Python.
    return "".join("i" if letter == "İ" else letter.lower() for letter in text)


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
