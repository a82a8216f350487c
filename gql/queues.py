"""The queues as operators see them, and the one poll of this process for all who watch them."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

import strawberry

from gql.errors import BadUserInput, going_away
from taskql.errors import Unavailable
from taskql.ports import QueueFigures, QueueStore
from taskql.waiting import wait_for

MAX_EVERY_SECONDS = 60
FRESH_SECONDS = 0.5
"""For so long, figures are as good as new to those who watch: whoever's turn comes meanwhile shares them."""


def name(root: strawberry.Parent[QueueFigures]) -> str:
    return root.queue.value


def oldest_age_seconds(root: strawberry.Parent[QueueFigures]) -> float | None:
    return None if root.oldest_age is None else root.oldest_age.total_seconds()


@strawberry.type(description="How a queue fares, by what PostgreSQL knows of the tasks that have yet to end.")
class Queue:
    name: str = strawberry.field(
        resolver=name, description="`high`, `normal` or `low`, or `fifo` for tasks with an ordering key."
    )
    depth: int = strawberry.field(description="Tasks that are due and wait for a worker.")
    in_flight: int = strawberry.field(description="Tasks that a worker is at.")
    delayed: int = strawberry.field(
        description=(
            "Tasks that wait for something else: for their `runAt`, for the pause before their next attempt, "
            "or for those before them that share their ordering key."
        )
    )
    oldest_age_seconds: float | None = strawberry.field(
        resolver=oldest_age_seconds,
        description="How long the one that has waited longest for a worker has been due; null if none is.",
    )
    dead_letters: int = strawberry.field(
        description="What failed for good, and messages that were not TaskQL's own, as far as still kept."
    )

    @classmethod
    def is_type_of(cls, value: object, info: object) -> bool:
        return isinstance(value, QueueFigures)


class LiveQueues:
    """The figures of the queues, for all who watch them in this process."""

    def __init__(self, store: QueueStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._poll: asyncio.Task[list[QueueFigures]] | None = None
        self._polled_at = 0.0
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End every subscription with Unavailable."""
        self._closing.set()

    async def now(self) -> list[QueueFigures]:
        return await self._store.figures()

    async def follow(self, every_seconds: int) -> AsyncGenerator[list[QueueFigures], None]:
        """The figures at once, then with each interval's end, changed or not.

        Intervals of one length end at the same moments, so that all share a poll. While PostgreSQL is away
        nothing is told; it is Unavailable only where it is away at the start, or where this process stops.
        """
        if not 1 <= every_seconds <= MAX_EVERY_SECONDS:
            raise BadUserInput(f"`everySeconds` is {every_seconds}; give 1 to {MAX_EVERY_SECONDS}.")
        yield await self._shared()
        while await self._open_after(until_end(self._clock(), every_seconds)):
            try:
                figures = await self._shared()
            except Unavailable:
                continue
            yield figures
        raise going_away()

    async def _open_after(self, seconds: float) -> bool:
        """Wait; whether this process goes on."""
        return not await wait_for(self._closing, seconds)

    async def _shared(self) -> list[QueueFigures]:
        """The figures of a poll that runs or has just ended, else of a new one."""
        if self._poll is None or (self._poll.done() and self._clock() - self._polled_at > FRESH_SECONDS):
            self._poll = asyncio.create_task(self._store.figures())
            self._poll.add_done_callback(self._note)
        return await asyncio.shield(self._poll)

    def _note(self, poll: asyncio.Task[list[QueueFigures]]) -> None:
        self._polled_at = self._clock()
        if poll.cancelled() or poll.exception() is not None:
            self._poll = None


def until_end(now: float, every_seconds: int) -> float:
    """How long it is to the interval's end, or to the next one's where that is less than half of it."""
    rest = every_seconds - now % every_seconds
    return rest if rest >= every_seconds / 2 else rest + every_seconds
