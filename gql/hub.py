"""Live tasks: one subscription to the events of a task, however many watch it, and one loop for all of them.

Invariant: a watcher sees strictly rising versions, always the last one, and what it sees is stored. It
listens first and looks at PostgreSQL then, so nothing falls in between; events are hints that save looking
again, and what they miss a reconcile finds. A watcher costs no asyncio task: it is called back.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from gql.errors import going_away
from gql.listening import Listening, chunks
from gql.watched import Reader, Watched, Watcher, not_found
from taskql.errors import NotFound, Unavailable
from taskql.ports import EventSource, Hearing, Newer
from taskql.task import Task, TaskEvent

MAX_FETCH = 1_000
"""Newcomers whose tasks are looked at together."""
MAX_LOOKS = 4
"""Such looks at a time; who comes meanwhile is of the next."""
GATHER_SECONDS = 0.002
GATHER_LONGER_SECONDS = 0.02
FEW_LOOKS = 2
"""So long a look waits for more newcomers: among few, and beside more, as when they come by the thousand."""
MAX_COMPARED = 5_000
"""Tasks that a reconcile asks for with one query."""
RECONCILE_EVERY = timedelta(seconds=5)
RECONCILE_DEAF_EVERY = timedelta(seconds=1)
"""While Redis is away."""
RESTART_AFTER = timedelta(seconds=1)

Fetch = Callable[[str | None, Collection[UUID]], Awaitable[dict[UUID, Task]]]
"""Those of the ids that exist and are the owner's; everybody's, where there is none."""
FetchNewer = Callable[[Mapping[UUID, int]], Awaitable[Newer]]
"""What has become of tasks since the version that is known of each."""

logger = logging.getLogger(__name__)


class Feeds(Protocol):
    """Those who follow all tasks of an owner."""

    def offer(self, event: TaskEvent) -> None: ...

    def lost(self) -> None: ...

    def resync(self) -> None: ...


class Hub:
    """Follows the events of all that is watched, and tells the watchers."""

    def __init__(
        self,
        fetch: Fetch,
        newer: FetchNewer,
        source: EventSource,
        feeds: Feeds | None = None,
        *,
        reconcile_every: timedelta = RECONCILE_EVERY,
        reconcile_deaf_every: timedelta = RECONCILE_DEAF_EVERY,
    ) -> None:
        self._fetch = fetch
        self._newer = newer
        self._source = source
        self._feeds = feeds
        self._reconcile_every = reconcile_every
        self._reconcile_deaf_every = reconcile_deaf_every
        self._reconcile_now = asyncio.Event()
        self._watched: dict[UUID, Watched] = {}
        self._listening = Listening(source, self._watched, self._reconcile_now.set)
        self._newcomers: list[tuple[str | None, Watcher]] = []
        self._gathering = False
        self._looks: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        loops = [asyncio.create_task(self._follow()), asyncio.create_task(self._keep_reconciling())]
        try:
            yield
        finally:
            self.close()
            unfinished = [*loops, *self._looks]
            for aio_task in unfinished:
                aio_task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
            await self._listening.close()

    def close(self) -> None:
        """End every watch, the present and the future ones, with Unavailable: elsewhere it can go on."""
        self._closed = True
        for watched in list(self._watched.values()):
            end(watched.watchers, going_away())

    # ------------------------------------------------------------ watchers

    def subscribe(self, watcher: Watcher, owner: str | None, task_id: UUID) -> None:
        """Tell the watcher what the task is, unless it knows that version, and what it becomes, to its end.

        It ends with NotFound where the task isn't there or isn't the owner's, and with Unavailable where
        PostgreSQL is away at the start, or this process stops.
        """
        if self._closed:
            watcher.end(going_away())
            return
        watched = self._watched.get(task_id)
        if watched is None:
            watched = self._watched[task_id] = Watched(task_id)
        watched.watchers.add(watcher)
        watcher.watched = watched
        self._newcomers.append((owner, watcher))
        self._look_soon()

    def leave(self, watcher: Watcher) -> None:
        """Tell the watcher no more. Leaving twice is leaving once."""
        watched, watcher.watched = watcher.watched, None
        if watched is not None:
            watched.watchers.discard(watcher)
            if not watched.watchers and not self._closed:
                self._listening.release(watched)

    async def watch(
        self, owner: str | None, task_id: UUID, after_version: int | None = None
    ) -> AsyncGenerator[Task, None]:
        """The same for whoever reads at their own pace: a slow reader skips versions, never the last."""
        reader = Reader(after_version)
        self.subscribe(reader, owner, task_id)
        try:
            async for task in reader.tasks():
                yield task
        finally:
            self.leave(reader)

    # ------------------------------------------------------------ newcomers: listen, then look

    def _look_soon(self) -> None:
        """See to it that somebody looks for those who have come."""
        if self._newcomers and not self._gathering and len(self._looks) < MAX_LOOKS:
            self._gathering = True
            look = asyncio.create_task(self._gather())
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)
            look.add_done_callback(lambda _: self._look_soon())

    async def _gather(self) -> None:
        try:
            is_quiet = len(self._looks) <= FEW_LOOKS
            await asyncio.sleep(GATHER_SECONDS if is_quiet else GATHER_LONGER_SECONDS)
            batch, self._newcomers = self._newcomers[:MAX_FETCH], self._newcomers[MAX_FETCH:]
        finally:
            self._gathering = False
        self._look_soon()
        await self._welcome([(owner, watcher) for owner, watcher in batch if watcher.watched is not None])

    async def _welcome(self, newcomers: Sequence[tuple[str | None, Watcher]]) -> None:
        """Listen to their tasks, then look at them: one question for each owner."""
        await self._listening.listen({watcher.watched for _, watcher in newcomers if watcher.watched})
        by_owner: defaultdict[str | None, list[Watcher]] = defaultdict(list)
        for owner, watcher in newcomers:
            by_owner[owner].append(watcher)
        await asyncio.gather(*(self._look(owner, watchers) for owner, watchers in by_owner.items()))

    async def _look(self, owner: str | None, watchers: Sequence[Watcher]) -> None:
        by_task: defaultdict[Watched, list[Watcher]] = defaultdict(list)
        for watcher in watchers:
            if watcher.watched is not None:  # else it has left
                by_task[watcher.watched].append(watcher)
        try:
            found = await self._fetch(owner, [watched.id for watched in by_task])
        except Exception as error:
            if not isinstance(error, Unavailable):
                logger.exception("The tasks of newcomers could not be read")
            end(watchers, error)
            return
        for watched, newcomers in by_task.items():
            if task := found.get(watched.id):
                await watched.welcome(newcomers, task)
            else:
                end(newcomers, not_found(watched.id))

    # ------------------------------------------------------------ events

    async def _follow(self) -> None:
        """Hand every event to its task; where some may be missing, look."""
        while True:
            try:
                async for event in self._source.events():
                    if isinstance(event, TaskEvent):
                        await self._hand_on(event)
                    elif event is Hearing.LOST:
                        self._lose()
                    else:
                        self._regain()
            except Exception:
                logger.exception("The events ended; following them again in %s", RESTART_AFTER)
            self._lose()
            await asyncio.sleep(RESTART_AFTER.total_seconds())
            self._regain()

    async def _hand_on(self, event: TaskEvent) -> None:
        if self._feeds is not None:
            self._feeds.offer(event)
        if watched := self._watched.get(event.id):
            await watched.tell(event)

    def _lose(self) -> None:
        self._listening.lose()
        if self._feeds is not None:
            self._feeds.lost()

    def _regain(self) -> None:
        self._listening.regain()
        self._reconcile_now.set()
        if self._feeds is not None:
            self._feeds.resync()

    # ------------------------------------------------------------ reconciling

    async def _keep_reconciling(self) -> None:
        while True:
            pause = self._reconcile_deaf_every if self._listening.deaf else self._reconcile_every
            with suppress(TimeoutError):
                async with asyncio.timeout(pause.total_seconds()):
                    await self._reconcile_now.wait()
            self._reconcile_now.clear()
            try:
                await self._listening.listen_again()
                await self._reconcile()
            except Unavailable:
                logger.warning("PostgreSQL is away; what is watched is read again when it is back")
            except Exception:
                logger.exception("What is watched could not be read again; trying later")

    async def _reconcile(self) -> None:
        """Ask what has become of all that is watched, and hand on what is newer."""
        watched = [entry.id for entry in self._watched.values() if entry.newest is not None]
        for ids in chunks(watched, MAX_COMPARED):
            known = {
                id: entry.newest.version
                for id in ids
                if (entry := self._watched.get(id)) is not None and entry.newest is not None
            }
            found = await self._newer(known)
            for task in found.tasks:
                if still_watched := self._watched.get(task.id):
                    await still_watched.tell(task)
            for task_id in found.gone:
                if orphaned := self._watched.get(task_id):
                    end(orphaned.watchers, NotFound(f"Task {task_id} has been deleted."))


def end(watchers: Collection[Watcher], error: Exception) -> None:
    for watcher in list(watchers):
        watcher.end(error)
