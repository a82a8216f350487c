"""Reading from a replica what clients list, without showing anybody less than they know.

Invariant: what was committed when the reading began is in what is read. The primary is asked how far it is;
the replica serves once it is as far, and where that takes too long, the primary itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from taskql.adapters.postgres.engine import connection
from taskql.errors import Unavailable

PATIENCE = timedelta(milliseconds=100)
"""How long the replica may take to come as far as the primary was."""
LOOK_EVERY = timedelta(milliseconds=5)
REST = timedelta(seconds=5)
"""How long a replica is left alone that was away, or far behind."""

PRIMARY_AT = text("SELECT pg_current_wal_flush_lsn()::text")
REPLICA_AT = text(
    "SELECT pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= CAST(CAST(:place AS text) AS pg_lsn)"
)

T = TypeVar("T")
Reading = Callable[[AsyncConnection], Awaitable[T]]

log = logging.getLogger(__name__)


class Behind(Exception):
    """The replica does not have yet what the primary has."""


class Reader:
    """Reads from the replica, where there is one that keeps up; else from the primary."""

    def __init__(self, primary: AsyncEngine, replica: AsyncEngine | None) -> None:
        self._primary = primary
        self._replica = replica
        self._rests_until = 0.0

    async def read(self, reading: Reading[T]) -> T:
        if self._replica is not None and asyncio.get_running_loop().time() >= self._rests_until:
            async with connection(self._primary) as opened:
                place = (await opened.execute(PRIMARY_AT)).scalar_one()
            try:
                async with connection(self._replica) as opened:
                    await catch_up(opened, place)
                    return await reading(opened)
            except (Behind, Unavailable, DBAPIError) as error:
                # A replica may also cancel what stands in the way of its catching up.
                self._rests_until = asyncio.get_running_loop().time() + REST.total_seconds()
                log.warning("the replica rests: %s", reason(error))
        async with connection(self._primary) as opened:
            return await reading(opened)


async def catch_up(opened: AsyncConnection, place: str) -> None:
    """Return when the replica is as far as `place`. Raises Behind."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE.total_seconds()
    while not (await opened.execute(REPLICA_AT, {"place": place})).scalar_one():
        if loop.time() > deadline:
            raise Behind("it is too far behind")
        await asyncio.sleep(LOOK_EVERY.total_seconds())


def reason(error: Exception) -> str:
    """Without a statement's text and values, which belong into no log."""
    return type(error).__name__ if isinstance(error, DBAPIError) else str(error)
