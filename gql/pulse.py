"""One clock for all connections: heartbeats, time limits, and the end of those that are stuck.

A timer or a task for each connection would cost more memory than all else that we keep of an idle one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from starlette.types import Scope

ABORT = "taskql.abort"
"""The extension of ASGI by which our server lets a connection be cut that takes nothing more."""
TICK_SECONDS = 1.0
HEARTBEAT_SECONDS = 12.0
"""Below the 15 s after which some proxies call a silent connection dead."""
STUCK_SECONDS = 20.0
"""So long a client may take nothing of what we send."""
AT_ONCE = 500
"""Connections that are seen to without a break."""


class Connection(Protocol):
    """Something open that has to be seen to."""

    def tick(self, now: float) -> None:
        """Called about every second, with the loop's time."""
        ...

    def go_away(self) -> None:
        """Tell the client to go on elsewhere."""
        ...


class Pulse:
    """All that is open."""

    def __init__(self) -> None:
        self.connections: set[Connection] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        loop = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop

    async def go_away(self) -> None:
        """Tell every client to go on elsewhere."""
        await self._each(lambda connection: connection.go_away())

    async def _beat(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self._each(lambda connection: connection.tick(clock()))

    async def _each(self, act: Callable[[Connection], None]) -> None:
        for number, connection in enumerate(list(self.connections), 1):
            if connection in self.connections:
                act(connection)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)


def abort_of(scope: Scope) -> Callable[[], object]:
    """How to cut a connection that takes nothing more; elsewhere than on our server, what serves it ends."""
    serving = asyncio.current_task()
    assert serving is not None
    abort: Callable[[], object] = scope.get("extensions", {}).get(ABORT, {}).get("now", serving.cancel)
    return abort
