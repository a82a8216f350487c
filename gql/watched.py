"""A task that is watched, and what its watchers have yet to read: shared state, bounded buffers, no I/O.

Invariant: to each watcher the newest version is never lost, and before it falls far behind, none is.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from taskql.errors import TaskQLError
from taskql.task import Task, TaskEvent

MAX_PENDING = 16
"""So many versions may wait for a slow reader; then it gets the newest alone."""


class Watcher:
    """What one subscription has yet to read: rising versions, and at the end why there will be no more."""

    def __init__(self) -> None:
        self._pending: deque[TaskEvent] = deque()
        self._end: TaskQLError | None = None
        self._stirred = asyncio.Event()

    def push(self, news: TaskEvent) -> None:
        if len(self._pending) == MAX_PENDING:
            self._pending.clear()
        self._pending.append(news)
        self._stirred.set()

    def end(self, error: TaskQLError) -> None:
        self._end = error
        self._stirred.set()

    async def newer_than(self, version: int) -> TaskEvent:
        """The next event beyond `version`; raises the end's error once all has been read."""
        while True:
            while self._pending:
                if (news := self._pending.popleft()).version > version:
                    return news
            if self._end is not None:
                raise self._end
            self._stirred.clear()
            await self._stirred.wait()


class Watched:
    """A task that somebody watches. Each watcher is given all that `task` is, or was since it joined."""

    def __init__(self, task_id: UUID) -> None:
        self.id = task_id
        self.task: Task | None = None
        self.watchers: set[Watcher] = set()
        self.listening = False
        self.channel = asyncio.Lock()

    @contextmanager
    def watcher(self) -> Iterator[Watcher]:
        watcher = Watcher()
        if self.task is not None:
            watcher.push(self.task)
        self.watchers.add(watcher)
        try:
            yield watcher
        finally:
            self.watchers.remove(watcher)

    def offer(self, news: TaskEvent) -> None:
        """Hand on what is newer than all we knew. Before the first snapshot, that is every event."""
        if self.task is not None and news.version <= self.task.version:
            return
        if isinstance(news, Task):
            self.task = news
        elif self.task is not None:
            self.task = self.task.at(news)
        for watcher in self.watchers:
            watcher.push(self.task or news)

    def end(self, error: TaskQLError) -> None:
        for watcher in self.watchers:
            watcher.end(error)
