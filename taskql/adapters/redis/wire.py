"""The transport of an open connection, taken over from redis-py: commands go out, replies come in.

redis-py opens the connection: it knows addresses, passwords and TLS. But its layers need several times as
long as hiredis alone to pack a command and to read a reply.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import hiredis
from redis._parsers import BaseParser
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, InvalidResponse

from taskql.adapters.redis.connections import transport_of

Words = tuple[str | bytes | int, ...]

pack: Callable[[Words], bytes] = hiredis.pack_command  # type: ignore[assignment]  # it takes more than it says

UNFINISHED = object()


class Wire(asyncio.Protocol):
    """What comes is for `take`; `fail` hears of the end, whoever has brought it about."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._transport = transport_of(connection)
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse, replyError=BaseParser.parse_error, notEnoughData=UNFINISHED
        )
        self._transport.set_protocol(self)

    def send(self, commands: Iterable[Words]) -> None:
        if self._transport.is_closing():
            raise ConnectionError("the connection was closed")
        self._transport.write(b"".join(map(pack, commands)))

    def take(self, reply: Any) -> None:
        """A reply, or an error reply. The connection is closed if this raises."""
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """May be called again."""
        raise NotImplementedError

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets(False)) is not UNFINISHED:
                self.take(reply)
        except Exception as error:
            self.fail(error)
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.fail(ConnectionError(f"the connection was closed ({error or 'by Redis'})"))
