"""Which of the watched tasks we hear of: what is asked of the event source, in batches.

Invariant: of one task, `watch` and `unwatch` never run at the same time; an entry is forgotten only after its
`unwatch`, unless somebody has joined meanwhile, who then listens anew.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import TypeVar
from uuid import UUID

from gql.watched import Watched
from taskql.errors import Unavailable
from taskql.ports import EventSource

MAX_ASKED = 500
"""Tasks that the source is asked for at once."""
REDIS_WITHIN_SECONDS = 3.0
"""The source has a limit of its own; this one keeps a faulty source from holding up its watchers."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Listening:
    """Asks the source for what is watched. While it is `deaf`, looking at PostgreSQL must do."""

    def __init__(
        self, source: EventSource, watched: dict[UUID, Watched], when_deaf: Callable[[], None]
    ) -> None:
        self._source = source
        self._watched = watched
        self._when_deaf = when_deaf
        self.deaf = False
        self._lost = False
        self._unheard: set[Watched] = set()
        self._leaving: dict[Watched, None] = {}
        self._releasing: asyncio.Task[None] | None = None

    def lose(self) -> None:
        """The source hears nothing from now on."""
        self._lost = True
        self._become_deaf()

    def regain(self) -> None:
        """The source hears again all that it was asked for; the rest, `listen_again` asks for."""
        self._lost = False

    async def listen(self, entries: Iterable[Watched]) -> None:
        """Have the tasks' events come to us."""
        silent = [watched for watched in entries if not watched.heard]
        if not self.deaf:
            for chunk in chunks(silent, MAX_ASKED):
                await self._ask_for(chunk)
        unheard = [watched for watched in silent if not watched.heard]
        if unheard:
            self._unheard.update(unheard)
            self._become_deaf()

    async def listen_again(self) -> None:
        """Once Redis is back, listen to what we could not; the look that follows finds what we missed."""
        while self._unheard and not self._lost:
            chunk = list(islice(self._unheard, MAX_ASKED))
            await self._ask_for([watched for watched in chunk if watched.watchers])
            self._unheard.difference_update(
                watched for watched in chunk if watched.heard or not watched.watchers
            )
            if not self._unheard.isdisjoint(chunk):
                return
        self.deaf = self._lost

    def release(self, watched: Watched) -> None:
        """Forget a task that nobody watches, some time soon: whoever left should not wait for Redis."""
        self._leaving[watched] = None
        if self._releasing is None:
            self._releasing = asyncio.create_task(self._release_all())

    async def close(self) -> None:
        if self._releasing is not None:
            self._releasing.cancel()
            await asyncio.gather(self._releasing, return_exceptions=True)

    # ------------------------------------------------------------ one batch

    def _become_deaf(self) -> None:
        if not self.deaf:
            logger.warning("Redis is away; what is watched is read from PostgreSQL meanwhile")
            self.deaf = True
            self._when_deaf()

    async def _ask_for(self, entries: Collection[Watched]) -> None:
        async with holding(entries):
            await within_limit(self._watch(watched) for watched in entries if not watched.heard)

    async def _watch(self, watched: Watched) -> None:
        with suppress(Unavailable):
            await self._source.watch(watched.id)
            watched.heard = True

    async def _release_all(self) -> None:
        try:
            while self._leaving:
                chunk = list(islice(self._leaving, MAX_ASKED))
                for watched in chunk:
                    del self._leaving[watched]
                await self._release(chunk)
        finally:
            self._releasing = None

    async def _release(self, entries: Collection[Watched]) -> None:
        async with holding(entries):
            idle = [watched for watched in entries if not watched.watchers]
            for watched in idle:
                watched.heard = False
                self._unheard.discard(watched)
            await within_limit(self._source.unwatch(watched.id) for watched in idle)
            for watched in idle:
                if not watched.watchers and self._watched.get(watched.id) is watched:
                    del self._watched[watched.id]


@asynccontextmanager
async def holding(entries: Collection[Watched]) -> AsyncIterator[None]:
    """While nobody else changes whether these are heard."""
    while busy := next((watched.busy for watched in entries if watched.busy is not None), None):
        await busy.wait()
    done = asyncio.Event()
    for watched in entries:
        watched.busy = done
    try:
        yield
    finally:
        for watched in entries:
            watched.busy = None
        done.set()


async def within_limit(requests: Iterable[Awaitable[None]]) -> None:
    """Run them side by side; what fails or takes too long is as if it had not been asked."""
    with suppress(TimeoutError):
        async with asyncio.timeout(REDIS_WITHIN_SECONDS):
            for failure in await asyncio.gather(*requests, return_exceptions=True):
                if isinstance(failure, Exception) and not isinstance(failure, Unavailable | TimeoutError):
                    logger.error("The event source failed", exc_info=failure)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
