"""What one subscription to a feed has yet to read: the newest state of each task, in a bounded buffer.

Invariant: of each task the versions rise strictly, and the last one is never lost if it matches. A reader
that falls far behind costs an id for each further task, whose state is read again when its turn comes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from uuid import UUID

from taskql.listing import TaskFilter
from taskql.task import Task

MAX_HELD = 200
"""Tasks that are kept for a slow reader; of further ones, the id alone."""

MAX_FETCH = 100

Fetch = Callable[[Collection[UUID]], Awaitable[dict[UUID, Task]]]
"""Those of the ids that exist and are the follower's owner's."""


class Follower:
    """One subscription's buffer: what it is offered, `next` answers once."""

    def __init__(self, filter: TaskFilter, fetch: Fetch, max_held: int = MAX_HELD) -> None:
        self._filter = filter
        self._fetch = fetch
        self._max_held = max_held
        self._waiting: dict[UUID, Task | None] = {}  # None is to be fetched
        self._ahead: dict[UUID, int] = {}  # versions fetched here that are yet to be offered
        self._end: Exception | None = None
        self._stirred = asyncio.Event()

    def offer(self, task: Task) -> None:
        """The task's newest state; each is offered once, and versions rise."""
        if (ahead := self._ahead.get(task.id)) is not None:
            if task.version >= ahead:
                del self._ahead[task.id]
            if task.version <= ahead:
                return
        if not self._filter.matches(task):
            return
        held = self._waiting.pop(task.id, task)
        full = held is None or len(self._waiting) >= self._max_held
        self._waiting[task.id] = None if full else task
        self._stirred.set()

    def end(self, error: Exception) -> None:
        self._end = error
        self._stirred.set()

    async def next(self) -> Task:
        """The next state that matches; raises the error of the end."""
        while True:
            if self._end is not None:
                raise self._end
            if not self._waiting:
                self._stirred.clear()
                await self._stirred.wait()
            elif task := self._waiting.pop(first := next(iter(self._waiting))):
                return task
            else:
                await self._fetch_waiting(first)

    async def _fetch_waiting(self, first: UUID) -> None:
        """Put the states of those that wait with their ids alone, `first` among them, at the head."""
        others = [task_id for task_id, task in self._waiting.items() if task is None][: MAX_FETCH - 1]
        for task_id in others:
            del self._waiting[task_id]
        found = await self._fetch([first, *others])
        fresh: dict[UUID, Task | None] = {}
        for task in found.values():
            if self._is_news(task):
                fresh[task.id] = task
                self._ahead[task.id] = task.version
                self._waiting.pop(task.id, None)
        self._waiting = fresh | self._waiting

    def _is_news(self, task: Task) -> bool:
        """Whether a fetched state matches, and nothing newer came while it was fetched."""
        if task.id in self._waiting:
            offered = self._waiting[task.id]
            if offered is None or offered.version >= task.version:
                return False
        return task.version > self._ahead.get(task.id, 0) and self._filter.matches(task)
