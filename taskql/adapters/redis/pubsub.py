"""One connection in Redis's pub/sub mode, from its making to its first failure.

Invariant: it is never made anew behind its user's back; whoever uses it hears of the failure, and knows
that messages may be missing.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from redis.asyncio.connection import AbstractConnection

from taskql.adapters.redis.connections import LIMIT_SECONDS, bare_connection

Confirmed = Callable[[], None]


class PubSub:
    """Subscriptions, and the messages of their channels."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._unconfirmed: deque[Confirmed] = deque()

    async def subscribe(self, channels: Mapping[str, Confirmed]) -> None:
        """Ask for channels; each one's function is called once Redis has confirmed it."""
        # Redis answers in the order of its commands. Nothing is awaited before the command is on its way,
        # so that ours keep the order in which we noted them.
        self._unconfirmed.extend(channels.values())
        await self._send("SUBSCRIBE", *channels)

    async def unsubscribe(self, channel: str) -> None:
        await self._send("UNSUBSCRIBE", channel)

    async def messages(self, silence_seconds: float) -> AsyncIterator[bytes]:
        """What is published, until the connection fails, or nothing at all has come for `silence_seconds`."""
        while True:
            match await self._connection.read_response(timeout=silence_seconds, disconnect_on_error=False):
                case [b"message", _, bytes(data)]:
                    yield data
                case [b"subscribe", *_]:
                    self._unconfirmed.popleft()()
                case None:
                    raise TimeoutError(f"nothing came for {silence_seconds} s")

    async def _send(self, *command: str) -> None:
        # redis-py would silently connect again, without our subscriptions; `messages` tells of the failure.
        if self._connection.is_connected:
            await self._connection.send_command(*command)


@asynccontextmanager
async def open_pubsub(url: str) -> AsyncIterator[PubSub]:
    connection = bare_connection(url)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await connection.connect()  # type: ignore[no-untyped-call]
        yield PubSub(connection)
    finally:
        await connection.disconnect(nowait=True)
