"""Connections to Redis that fail fast: short time limits, and no retries that we did not ask for."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Connection, ConnectionPool
from redis.asyncio.connection import AbstractConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from taskql.errors import StartupError

LIMIT_SECONDS = 1.0
"""For whatever Redis should answer at once."""

OUTAGE = (RedisError, OSError)
"""What redis-py raises when Redis is away, beside a TimeoutError, which is an OSError."""


@dataclass(frozen=True, slots=True)
class Node:
    """Where a server is."""

    host: str
    port: int


ORIGIN = Node("", 0)
"""The server that REDIS_URL names, wherever that is."""


class Connector:
    """Makes connections to the server that REDIS_URL names, and with the same manners to its cluster's nodes.

    They are bare: whoever uses one sees its failure, which redis-py's clients hide by connecting again. They
    have no time limit for reading and writing: with one, redis-py would write in a task of its own, and
    commands could overtake each other.
    """

    def __init__(self, url: str, limit_seconds: float = LIMIT_SECONDS) -> None:
        try:
            pool = ConnectionPool.from_url(
                url,
                protocol=2,
                socket_timeout=None,
                socket_connect_timeout=limit_seconds,
                health_check_interval=0,
                retry=Retry(NoBackoff(), 0),
            )
        except ValueError as error:
            raise StartupError(
                f"REDIS_URL can't be used: {error}. It looks like redis://host:6379/0."
            ) from None
        self._class = pool.connection_class
        self._options: dict[str, Any] = pool.connection_kwargs

    def make(self, node: Node = ORIGIN) -> AbstractConnection:
        """A connection that is yet to be opened."""
        if node == ORIGIN:
            return self._class(**self._options)
        options = {name: value for name, value in self._options.items() if name != "path"}
        over_tcp = Connection if self._class is UnixDomainSocketConnection else self._class
        return over_tcp(**options | {"host": node.host, "port": node.port})

    @property
    def host(self) -> str:
        return str(self._options.get("host", "localhost"))


async def connect(connection: AbstractConnection) -> None:
    """Open it. A cancellation or time limit that meets redis-py while it connects can get lost there."""
    task = asyncio.current_task()
    assert task is not None
    asked_before = task.cancelling()
    await connection.connect()  # type: ignore[no-untyped-call]
    if task.cancelling() > asked_before:
        await connection.disconnect(nowait=True)
        raise asyncio.CancelledError


def transport_of(connection: AbstractConnection) -> asyncio.Transport:
    """What an open connection writes to, and whose protocol reads. redis-py keeps it for itself."""
    assert connection._writer is not None
    return cast("asyncio.Transport", connection._writer.transport)


def account(error: Exception) -> str:
    """The error in words; redis-py's errors and timeouts are short of them, each in its own way.

    Redis repeats the values of a command that it does not know; these are left off.
    """
    return f"{type(error).__name__}: {str(error).partition(', with args')[0]}"
