"""Live tasks: one subscription to the events of a task, however many watch it.

Invariant: a watcher sees strictly rising versions, always the last one, and what it sees is stored. It
listens first and looks at PostgreSQL then, so nothing falls in between; events are hints that save looking
again, and what they miss a reconcile finds.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from itertools import islice
from uuid import UUID

from gql.watched import Watched
from taskql.errors import NotFound, Unavailable
from taskql.ports import EventSource
from taskql.task import Task

MAX_FETCH = 1_000
"""Tasks that a reconcile reads with one query."""

RECONCILE_EVERY = timedelta(seconds=5)
RECONCILE_DEAF_EVERY = timedelta(seconds=1)
"""While Redis is away."""
REDIS_WITHIN = timedelta(seconds=3)
"""The source has a limit of its own; this one keeps a faulty source from holding up its watchers."""
RESTART_AFTER = timedelta(seconds=1)

Fetch = Callable[[str, Collection[UUID]], Awaitable[dict[UUID, Task]]]
"""Those of the ids that exist and are the owner's."""

logger = logging.getLogger(__name__)


class Hub:
    """Follows the events of all that is watched, and hands them to the watchers."""

    def __init__(
        self,
        fetch: Fetch,
        source: EventSource,
        *,
        reconcile_every: timedelta = RECONCILE_EVERY,
        reconcile_deaf_every: timedelta = RECONCILE_DEAF_EVERY,
    ) -> None:
        self._fetch = fetch
        self._source = source
        self._reconcile_every = reconcile_every
        self._reconcile_deaf_every = reconcile_deaf_every
        self._watched: dict[UUID, Watched] = {}
        self._deaf = False
        self._closed = False
        self._reconcile_now = asyncio.Event()
        self._releases: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        loops = [asyncio.create_task(self._follow()), asyncio.create_task(self._keep_reconciling())]
        try:
            yield
        finally:
            self.close()
            unfinished = [*loops, *self._releases]
            for aio_task in unfinished:
                aio_task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)

    def close(self) -> None:
        """End every watch, the present and the future ones, with Unavailable: elsewhere it can go on."""
        self._closed = True
        for watched in self._watched.values():
            watched.end(going_away())

    async def watch(
        self, owner: str, task_id: UUID, after_version: int | None = None
    ) -> AsyncGenerator[Task, None]:
        """The task as it is, unless that is no newer than `after_version`, then as it becomes, until it is
        terminal.

        Raises NotFound where the task isn't there or isn't the owner's, and Unavailable where PostgreSQL is
        away at the start, or this process stops.
        """
        async with self._listening(task_id) as watched:
            with watched.watcher() as watcher:
                await self._listen(watched)
                task = snapshot = await self._look(owner, task_id)
                watched.offer(snapshot)
                while True:
                    if after_version is None or task.version > after_version:
                        yield task
                    if task.status.is_terminal:
                        return
                    news = await watcher.newer_than(task.version)
                    task = news if isinstance(news, Task) else snapshot.at(news)

    async def _look(self, owner: str, task_id: UUID) -> Task:
        task = (await self._fetch(owner, [task_id])).get(task_id)
        if task is None:
            raise NotFound(f"There is no task {task_id}, or it is not yours.")
        return task

    # ------------------------------------------------------------ listening

    @asynccontextmanager
    async def _listening(self, task_id: UUID) -> AsyncIterator[Watched]:
        """The shared entry of a task, there as long as somebody watches it."""
        if self._closed:
            raise going_away()
        watched = self._watched.get(task_id)
        if watched is None:
            watched = self._watched[task_id] = Watched(task_id)
        try:
            yield watched
        finally:
            # Beside the watcher, which may be cancelled and should not wait for Redis.
            if not watched.watchers and not self._closed:
                release = asyncio.create_task(self._release(watched))
                self._releases.add(release)
                release.add_done_callback(self._releases.discard)

    async def _listen(self, watched: Watched) -> None:
        """Have the task's events come to us; while Redis is away, the reconcile must do."""
        if self._deaf or await self._reaches(watched):
            return
        logger.warning("Redis is away; what is watched is read from PostgreSQL meanwhile")
        self._deaf = True
        self._reconcile_now.set()

    async def _listen_again(self) -> None:
        """Once Redis is back, listen to what we could not; the look that follows finds what we missed."""
        while self._deaf:
            unheard = [task for task in self._watched.values() if task.watchers and not task.listening]
            for watched in unheard:
                if not await self._reaches(watched):
                    return
            self._deaf = bool(unheard)  # others may have come meanwhile, and found us deaf

    async def _reaches(self, watched: Watched) -> bool:
        """Whether the task's events reach us, now that we have seen to it."""
        try:
            async with asyncio.timeout(REDIS_WITHIN.total_seconds()), watched.channel:
                if not watched.listening:
                    await self._source.watch(watched.id)
                    watched.listening = True
        except (Unavailable, TimeoutError):
            return False
        return True

    async def _release(self, watched: Watched) -> None:
        """Forget a task that nobody watches. Whoever joins meanwhile keeps the entry, and listens anew."""
        async with watched.channel:
            if watched.watchers:
                return
            watched.listening = False
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(REDIS_WITHIN.total_seconds()):
                    await self._source.unwatch(watched.id)
            if not watched.watchers and self._watched.get(watched.id) is watched:
                del self._watched[watched.id]

    async def _follow(self) -> None:
        """Hand every event to its task; where some may be missing, look."""
        while True:
            try:
                async for event in self._source.events():
                    if event is None:
                        self._reconcile_now.set()
                    elif watched := self._watched.get(event.id):
                        watched.offer(event)
            except Exception:
                logger.exception("The events ended; following them again in %s", RESTART_AFTER)
            self._reconcile_now.set()
            await asyncio.sleep(RESTART_AFTER.total_seconds())

    # ------------------------------------------------------------ reconciling

    async def _keep_reconciling(self) -> None:
        while True:
            pause = self._reconcile_deaf_every if self._deaf else self._reconcile_every
            with suppress(TimeoutError):
                async with asyncio.timeout(pause.total_seconds()):
                    await self._reconcile_now.wait()
            self._reconcile_now.clear()
            try:
                await self._listen_again()
                await self._reconcile()
            except Unavailable:
                logger.warning("PostgreSQL is away; what is watched is read again when it is back")
            except Exception:
                logger.exception("What is watched could not be read again; trying later")

    async def _reconcile(self) -> None:
        """Read all that is watched, and hand on what is newer."""
        by_owner: defaultdict[str, list[UUID]] = defaultdict(list)
        for watched in self._watched.values():
            if watched.task is not None:
                by_owner[watched.task.owner].append(watched.id)
        for owner, ids in by_owner.items():
            for chunk in chunks(ids, MAX_FETCH):
                stored = await self._fetch(owner, chunk)
                for task_id in chunk:
                    if watched_still := self._watched.get(task_id):
                        hand_on(watched_still, stored.get(task_id))


def hand_on(watched: Watched, stored: Task | None) -> None:
    """Give the watchers what is stored; a task that has been deleted has no more to say."""
    if stored is not None:
        watched.offer(stored)
    else:
        watched.end(NotFound(f"Task {watched.id} has been deleted."))


def chunks(ids: Sequence[UUID], size: int) -> Iterator[list[UUID]]:
    rest = iter(ids)
    while chunk := list(islice(rest, size)):
        yield chunk


def going_away() -> Unavailable:
    return Unavailable("This server is stopping; subscribe again.")
