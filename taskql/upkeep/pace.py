"""How often a loop runs: at an interval, and ever more seldom while a service is away."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from taskql.errors import Unavailable
from taskql.tracebacks import told

FIRST_PAUSE = timedelta(milliseconds=200)
LONGEST_PAUSE = timedelta(seconds=5)

log = logging.getLogger(__name__)


class Backoff:
    """Pauses that double while a service is away, with jitter, so that processes don't return in step."""

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE

    def reset(self) -> None:
        self._pause = FIRST_PAUSE

    async def pause(self, loop: str, error: Exception) -> None:
        """Log why `loop` could not go on (an error of ours with its traceback), and wait."""
        ours = None if isinstance(error, Unavailable) else error
        why = str(error) if ours is None else told(error)
        log.warning("%s waits about %.1f s: %s", loop, self._pause.total_seconds(), why, exc_info=ours)
        await asyncio.sleep(self._pause.total_seconds() * random.uniform(0.5, 1.0))
        self._pause = min(self._pause * 2, LONGEST_PAUSE)


async def repeat(name: str, step: Callable[[], Awaitable[None]], every: timedelta) -> None:
    """Run `step` again and again, whatever it raises, until cancelled.

    An error that comes of the cancellation ends it too, or nobody could.
    """
    backoff = Backoff()
    loop = asyncio.current_task()
    while True:
        try:
            await step()
            backoff.reset()
        except Exception as error:
            if loop is not None and loop.cancelling():
                raise
            await backoff.pause(name, error)
        await asyncio.sleep(every.total_seconds())


@asynccontextmanager
async def repeating(name: str, step: Callable[[], Awaitable[None]], every: timedelta) -> AsyncIterator[None]:
    """`step` is repeated while the block runs."""
    loop = asyncio.create_task(repeat(name, step, every), name=name)
    try:
        yield
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
