"""The time limit of operations, kept by one timer for all of them.

`asyncio.timeout` takes 7 microseconds, most of it for a timer that hardly ever rings. Invariant: each limit
lasts equally long, so they end in the order in which they began.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

Outcome = TypeVar("Outcome")


class OutOfTime(Exception):
    """It has taken longer than it may, and was cancelled."""


class Limit:
    """Of what an asyncio task does now; `cancelled` says how often others had cancelled the task before."""

    __slots__ = ("aio_task", "cancelled", "end", "is_over")

    def __init__(self, aio_task: "asyncio.Task[Any]", end: float) -> None:
        self.aio_task = aio_task
        self.end = end
        self.cancelled = aio_task.cancelling()
        self.is_over = False


class Deadlines:
    """Limits of so many seconds each."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._limits: dict[Limit, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def within(self, work: Awaitable[Outcome]) -> Outcome:
        """What comes of the work. Raises OutOfTime, or what the work raises."""
        loop = asyncio.get_running_loop()
        aio_task = asyncio.current_task(loop)
        assert aio_task is not None
        limit = Limit(aio_task, loop.time() + self.seconds)
        self._limits[limit] = None
        if self._timer is None:
            self._timer = loop.call_later(self.seconds, self._ring)
        try:
            return await work
        except asyncio.CancelledError:
            if limit.is_over and aio_task.cancelling() <= limit.cancelled + 1:
                raise OutOfTime from None
            raise
        finally:
            del self._limits[limit]
            if limit.is_over:
                aio_task.uncancel()

    def _ring(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for limit in self._limits:
            if limit.end > now:
                self._timer = loop.call_at(limit.end, self._ring)
                break
            if not limit.is_over:
                limit.is_over = True
                limit.aio_task.cancel()
