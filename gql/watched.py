"""A task that is watched, and those who watch it: shared state and callbacks, no I/O.

Invariant: a watcher is told rising versions alone, and only after PostgreSQL has said that its owner may see
the task; after the terminal version it is told the end.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable
from typing import Any
from uuid import UUID

from taskql.errors import NotFound
from taskql.task import Task, TaskEvent

MAX_PENDING = 16
"""So many versions may wait for a slow reader, or for the snapshot; then the newest alone does."""
TOLD_AT_ONCE = 250
"""Watchers that are told without a break: a popular task does not hold up everybody else."""

logger = logging.getLogger(__name__)


class Watcher:
    """One subscription. `version` is the newest that its client has; `seen`, whether it may see the task."""

    __slots__ = ("seen", "version", "watched")

    def __init__(self, after_version: int | None) -> None:
        self.watched: Watched | None = None
        self.version = after_version
        self.seen = False

    def tell(self, watched: "Watched") -> None:
        """The task has a newer version. Never blocks; called by the hub, for whoever reads to read later."""
        raise NotImplementedError

    def end(self, error: Exception | None) -> None:
        """There will be no more: None after the terminal version, else the reason. The watcher leaves."""
        raise NotImplementedError


class Watched:
    """A task that somebody watches.

    `newest` is its newest version, of which an event has only what changes. `early` is what came before the
    first snapshot. `heard` says whether its events reach us, and `busy`, where it is set, that this is about
    to change. `texts` holds what its newest version looks like to whom.
    """

    __slots__ = ("_whole", "busy", "early", "heard", "id", "newest", "texts", "watchers")

    def __init__(self, task_id: UUID) -> None:
        self.id = task_id
        self.newest: TaskEvent | None = None
        self._whole: Task | None = None
        self.watchers: set[Watcher] = set()
        self.early: list[TaskEvent] = []
        self.heard = False
        self.busy: asyncio.Event | None = None
        self.texts: dict[object, Any] = {}

    @property
    def task(self) -> Task | None:
        """Its newest version, whole; put together for who wants more than what changes."""
        if self.newest is not self._whole:
            assert self.newest is not None
            assert self._whole is not None
            self.newest = self._whole = self._whole.at(self.newest)
        return self._whole

    def takes(self, news: TaskEvent) -> bool:
        """Whether this is newer than all we knew; then it is what we know."""
        if self.newest is not None and news.version <= self.newest.version:
            return False
        if isinstance(news, Task):
            self._whole = news
        elif self._whole is None:
            self._keep_early(news)
            return False
        self.newest = news
        self.texts.clear()
        return True

    def _keep_early(self, news: TaskEvent) -> None:
        if len(self.early) == MAX_PENDING:
            self.early.clear()
        self.early.append(news)

    async def tell(self, news: TaskEvent) -> None:
        """Tell all who may see it, if it is news."""
        if self.takes(news):
            await self.tell_each(list(self.watchers))

    async def welcome(self, newcomers: Collection[Watcher], snapshot: Task) -> None:
        """Begin to tell those who may see the task, as PostgreSQL has just said."""
        for watcher in newcomers:
            watcher.seen = True
        early, self.early = self.early, []
        for news in (snapshot, *early):
            await self.tell(news)
        await self.tell_each(newcomers)

    async def tell_each(self, watchers: Iterable[Watcher]) -> None:
        """Bring watchers up to date, with breaks; who has heard more meanwhile is not told again."""
        for told, watcher in enumerate(watchers, 1):
            if watcher.seen and watcher.watched is self:
                self._bring_up_to_date(watcher)
            if told % TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _bring_up_to_date(self, watcher: Watcher) -> None:
        assert self.newest is not None
        try:
            if watcher.version is None or watcher.version < self.newest.version:
                watcher.version = self.newest.version
                watcher.tell(self)
            if self.newest.status.is_terminal:
                watcher.end(None)
        except Exception as error:
            logger.exception("A watcher could not be told; ending its watch")
            watcher.end(error)


class Reader(Watcher):
    """A watcher for `async for`: until its reader falls far behind, it misses no version."""

    __slots__ = ("_ended", "_error", "_pending", "_stirred")

    def __init__(self, after_version: int | None) -> None:
        super().__init__(after_version)
        self._pending: deque[Task] = deque()
        self._ended = False
        self._error: Exception | None = None
        self._stirred = asyncio.Event()

    def tell(self, watched: Watched) -> None:
        assert watched.task is not None
        if self._ended:
            return
        if len(self._pending) == MAX_PENDING:
            self._pending.clear()
        self._pending.append(watched.task)
        self._stirred.set()

    def end(self, error: Exception | None) -> None:
        if not self._ended:
            self._ended, self._error = True, error
        self._stirred.set()

    async def tasks(self) -> AsyncIterator[Task]:
        """What it is told; raises the reason of the end, if there is one, once all has been read."""
        while True:
            while self._pending:
                yield self._pending.popleft()
            if self._ended:
                break
            self._stirred.clear()
            await self._stirred.wait()
        if self._error is not None:
            raise self._error


def not_found(task_id: UUID) -> NotFound:
    return NotFound(f"There is no task {task_id}, or it is not yours.")
