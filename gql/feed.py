"""A live feed: the changes to all tasks of an owner, one feed however many subscriptions follow it.

Invariant: all changes up to `_mark` have been handed out, and `_known` has what was handed out of the tasks
that changed since. Events are hints of what to read; what they miss is found by reading what changed since
the mark, which moves on to a moment that no later commit can precede (`TaskStore.as_of`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from gql.follower import Follower
from taskql.errors import Unavailable
from taskql.listing import TaskFilter
from taskql.ports import EventSource
from taskql.task import Task, TaskEvent

MAX_READ = 200
"""Tasks that are read with one query: each can have an input and a result of some hundred kilobytes."""
MAX_HINTS = 10_000
REST = 10
"""A look is followed by a rest of so many times its length: a great backlog makes no great load."""
LONGEST_REST = timedelta(seconds=10)
"""A look that a frozen PostgreSQL has held up is long, too; what no event tells of must not wait for that."""
REDIS_WITHIN = timedelta(seconds=3)

logger = logging.getLogger(__name__)


class Store(Protocol):
    """What feeds read of the tasks: a part of TaskService."""

    async def fetch(self, owner: str, ids: Collection[UUID]) -> dict[UUID, Task]: ...

    async def changed_since(self, owner: str, moment: datetime, limit: int) -> list[Task]: ...

    async def as_of(self) -> datetime: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long a feed waits: for more hints, and until it looks for what no event told of."""

    hints: timedelta = timedelta(milliseconds=20)
    look: timedelta = timedelta(seconds=5)
    look_deaf: timedelta = timedelta(seconds=1)
    """While Redis is away, and after PostgreSQL was."""


class Feed:
    """One owner's feed, from `run` on."""

    def __init__(self, owner: str, store: Store, source: EventSource, pace: Pace, deaf: bool) -> None:
        self.owner = owner
        self.followers: set[Follower] = set()
        self.begun = asyncio.Event()
        """Changes that are committed from now on are handed out."""
        self._store = store
        self._source = source
        self._pace = pace
        self._listening = False
        self._deaf = deaf
        self._mark = datetime.min.replace(tzinfo=UTC)
        self._known: dict[UUID, tuple[int, datetime]] = {}
        self._hints: dict[UUID, int] = {}
        self._look_now = True
        self._stirred = asyncio.Event()

    @contextmanager
    def followed(self, filter: TaskFilter) -> Iterator[Follower]:
        follower = Follower(filter, self._fetch_patiently)
        self.followers.add(follower)
        try:
            yield follower
        finally:
            self.followers.remove(follower)

    def end(self, error: Exception) -> None:
        for follower in self.followers:
            follower.end(error)

    def hint(self, event: TaskEvent) -> None:
        """A task has changed; which state is handed out, PostgreSQL says."""
        if self._is_known(event):
            return
        if len(self._hints) >= MAX_HINTS:
            self._hints.clear()
            self._look_now = True
        self._hints[event.id] = event.version
        self._stirred.set()

    def listen(self, deaf: bool) -> None:
        """Hints come no more, or come again, and some may be missing."""
        self._deaf = deaf
        self._look_now = True
        self._stirred.set()

    # ------------------------------------------------------------ reading

    async def run(self, turn: asyncio.Lock) -> None:
        """Hand out changes until cancelled. Raises only at the start; `turn` is that of listening."""
        await self._begin()
        async with turn, self._unwatching():
            due = 0.0
            while True:
                try:
                    due = await self._step(due)
                    continue
                except Unavailable:
                    logger.warning("PostgreSQL is away; what has changed is read when it is back")
                except Exception:
                    logger.exception("What has changed could not be read; trying later")
                self._look_now = False
                due = now() + self._pace.look_deaf.total_seconds()
                await asyncio.sleep(self._pace.look_deaf.total_seconds())

    async def _begin(self) -> None:
        """Whatever is committed by now counts as known."""
        self._mark = await self._store.as_of()
        async for page in self._changes():
            self._known |= {task.id: (task.version, task.updated_at) for task in page}
        self.begun.set()

    async def _step(self, due: float) -> float:
        """Look, read what was hinted at, or wait; answers when the next look is due."""
        if self._look_now or now() >= due:
            return await self._look()
        if self._hints:
            await self._read_hints()
            await asyncio.sleep(self._pace.hints.total_seconds())
            return due
        self._stirred.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._stirred.wait()
        return due

    async def _look(self) -> float:
        """Read what has changed since the mark, and move it on; answers when to look again."""
        began = now()
        self._look_now = False
        await self._listen()
        mark = await self._store.as_of()
        async for page in self._changes():
            await self._hand_out(page)
        self._mark = max(mark, self._mark)
        self._known = {id: known for id, known in self._known.items() if known[1] > self._mark}
        pause = self._pace.look_deaf if self._deaf else self._pace.look
        rest = min(REST * (now() - began), LONGEST_REST.total_seconds())
        return now() + max(pause.total_seconds(), rest)

    async def _read_hints(self) -> None:
        ids = list(self._hints)[:MAX_READ]
        for task_id in ids:
            del self._hints[task_id]
        found = await self._store.fetch(self.owner, ids)
        await self._hand_out(sorted(found.values(), key=lambda task: task.updated_at))

    async def _changes(self) -> AsyncIterator[list[Task]]:
        moment = self._mark
        while page := await self._store.changed_since(self.owner, moment, MAX_READ):
            yield page
            if len(page) < MAX_READ:
                return
            moment = page[-1].updated_at

    async def _hand_out(self, tasks: Collection[Task]) -> None:
        for task in tasks:
            if self._is_known(task):
                continue
            self._known[task.id] = task.version, task.updated_at
            for follower in self.followers:
                follower.offer(task)
            await asyncio.sleep(0)  # there may be many followers, and others want to run

    def _is_known(self, news: TaskEvent) -> bool:
        if news.updated_at <= self._mark:
            return True
        known = self._known.get(news.id)
        return known is not None and news.version <= known[0]

    async def _fetch_patiently(self, ids: Collection[UUID]) -> dict[UUID, Task]:
        while True:
            with suppress(Unavailable):
                return await self._store.fetch(self.owner, ids)
            await asyncio.sleep(self._pace.look_deaf.total_seconds())

    # ------------------------------------------------------------ listening

    async def _listen(self) -> None:
        """Hear of the owner's tasks; while that can't be, the looks must do."""
        if self._listening:
            return
        try:
            async with asyncio.timeout(REDIS_WITHIN.total_seconds()):
                await self._source.watch_owner(self.owner)
            self._listening = True
        except (Unavailable, TimeoutError):
            self._deaf = True

    @asynccontextmanager
    async def _unwatching(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(REDIS_WITHIN.total_seconds()):
                    await self._source.unwatch_owner(self.owner)


def now() -> float:
    return asyncio.get_running_loop().time()
