"""The feeds of this process: one for each owner that somebody follows."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from gql.errors import going_away
from gql.feed import Feed, Pace, Store
from taskql.listing import TaskFilter
from taskql.ports import EventSource
from taskql.task import Task, TaskEvent


class Feeds:
    """Where subscriptions follow feeds, and where the hub's loop over the events reaches them."""

    def __init__(self, store: Store, source: EventSource, pace: Pace | None = None) -> None:
        self._store = store
        self._source = source
        self._pace = pace or Pace()
        self._feeds: dict[str, Feed] = {}
        self._loops: dict[Feed, asyncio.Task[None]] = {}
        # An owner's next feed listens only after the one before has ceased to.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._deaf = False
        self._closed = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self.close()
            loops = list(self._loops.values())
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    def close(self) -> None:
        """End every subscription, the present and the future ones, with Unavailable."""
        self._closed = True
        for feed in self._feeds.values():
            feed.end(going_away())

    def offer(self, event: TaskEvent) -> None:
        """A hint that a task has changed."""
        if feed := self._feeds.get(event.owner):
            feed.hint(event)

    def lost(self) -> None:
        """No hints come from now on."""
        self._listen(deaf=True)

    def resync(self) -> None:
        """Hints come again; some may be missing."""
        self._listen(deaf=False)

    def _listen(self, deaf: bool) -> None:
        self._deaf = deaf
        for feed in self._feeds.values():
            feed.listen(deaf)

    async def follow(self, owner: str, filter: TaskFilter) -> AsyncGenerator[Task, None]:
        """Changes to the owner's tasks from now on: each task as it then is, if that matches.

        Raises Unavailable where PostgreSQL is away at the start, or this process stops.
        """
        if self._closed:
            raise going_away()
        feed = self._feeds.get(owner) or self._open(owner)
        try:
            with feed.followed(filter) as follower:
                await feed.begun.wait()
                while True:
                    yield await follower.next()
        finally:
            if not feed.followers:
                self._shut(feed)

    def _open(self, owner: str) -> Feed:
        feed = self._feeds[owner] = Feed(owner, self._store, self._source, self._pace, self._deaf)
        turn = self._turns.setdefault(owner, asyncio.Lock())
        self._loops[feed] = asyncio.create_task(self._run(feed, turn), name="feed")
        self._loops[feed].add_done_callback(lambda _: self._loops.pop(feed, None))
        return feed

    def _shut(self, feed: Feed) -> None:
        if self._feeds.get(feed.owner) is feed:
            del self._feeds[feed.owner]
        if loop := self._loops.get(feed):
            loop.cancel()

    async def _run(self, feed: Feed, turn: asyncio.Lock) -> None:
        try:
            await feed.run(turn)
        except Exception as error:
            feed.end(error)
            feed.begun.set()
            if self._feeds.get(feed.owner) is feed:
                del self._feeds[feed.owner]
