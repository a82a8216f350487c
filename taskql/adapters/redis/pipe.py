"""One connection to one server, over which many commands go at once, and all their replies come back.

Invariant: a reply is never taken for another command's: where not all replies were read, the connection is
closed.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, InvalidResponse, NoScriptError

from taskql.adapters.redis.connections import connect
from taskql.adapters.redis.wire import Wire, Words


class Exchange(Wire):
    """Commands one way, their replies the other; one `ask` at a time."""

    def __init__(self, connection: AbstractConnection) -> None:
        super().__init__(connection)
        self._owed = 0
        self._replies: list[Any] = []
        self._answer: asyncio.Future[list[Any]] | None = None

    def ask(self, commands: Sequence[Words]) -> asyncio.Future[list[Any]]:
        """The replies in order, error replies too, once all are there; or what has kept one away."""
        self.send(commands)
        self._owed, self._replies = len(commands), []
        self._answer = asyncio.get_running_loop().create_future()
        return self._answer

    def take(self, reply: Any) -> None:
        if not self._owed:
            raise InvalidResponse("Redis answers what nobody has asked")
        self._replies.append(reply)
        self._owed -= 1
        if not self._owed and self._answer is not None and not self._answer.done():
            self._answer.set_result(self._replies)

    def fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


class Pipe:
    """The connection, opened when it is needed, and anew where it was cut."""

    def __init__(self, connection: AbstractConnection, script: str | None) -> None:
        self._connection = connection
        self._script = script
        self._exchange: Exchange | None = None

    async def run(self, commands: Sequence[Words]) -> list[Any]:
        """The replies in order, error replies too. Tries again where the connection was cut meanwhile."""
        if self._exchange is not None:
            with suppress(ConnectionError):
                return await self._try(commands)
        return await self._try(commands)

    async def _try(self, commands: Sequence[Words]) -> list[Any]:
        try:
            if self._exchange is None:
                self._exchange = await self._open()
            replies = await self._exchange.ask(commands)
            for error in errors_in(replies):
                if isinstance(error, ConnectionError):  # the server is not ready, for whatever
                    raise error
        except BaseException:
            await self.close()
            raise
        if any(isinstance(error, NoScriptError) for error in errors_in(replies)):
            await self.close()  # the next connection brings the script again
        return replies

    async def _open(self) -> Exchange:
        await connect(self._connection)
        exchange = Exchange(self._connection)
        if self._script is not None:
            await exchange.ask([("SCRIPT", "LOAD", self._script)])
        return exchange

    async def close(self) -> None:
        self._exchange = None
        await self._connection.disconnect(nowait=True)


def errors_in(replies: Iterable[Any]) -> list[Exception]:
    return [reply for reply in replies if isinstance(reply, Exception)]
