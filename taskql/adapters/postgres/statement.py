"""Statements of the hot paths: asyncpg runs them itself, on a connection of the engine's pool.

SQLAlchemy takes 100 us and more to hand a statement over and its rows back, which is most of what a small one
costs. Invariant: a connection that broke does not return to the pool.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from taskql.adapters.postgres.engine import connection

NAME = re.compile(r"(?<!:):([a-z_]+)")


class Statement:
    """SQL with `:named` values, prepared once by each connection."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._numbered: str | None = None
        self._names: Sequence[str] = ()

    async def rows(self, engine: AsyncEngine, **values: Any) -> Sequence[asyncpg.Record]:
        """What it answers. Raises Unavailable, or what asyncpg raises."""
        if self._numbered is None:
            self._number()
        async with driver(engine) as opened:
            found: Sequence[asyncpg.Record] = await opened.fetch(
                self._numbered, *(values[name] for name in self._names)
            )
        return found

    def _number(self) -> None:
        self._names = list(dict.fromkeys(NAME.findall(self.text)))
        places = {name: f"${number}" for number, name in enumerate(self._names, start=1)}
        self._numbered = NAME.sub(lambda found: places[found[1]], self.text)


@asynccontextmanager
async def driver(engine: AsyncEngine) -> AsyncIterator["asyncpg.Connection"]:
    """asyncpg's connection below one of the pool, in autocommit."""
    async with connection(engine) as opened:
        found = await _living(opened)
        try:
            yield found
        finally:
            if found.is_closed():
                await opened.invalidate()


async def _living(opened: AsyncConnection) -> "asyncpg.Connection":
    """One that the server closed while it lay in the pool is made anew."""
    while True:
        raw = await opened.get_raw_connection()
        found: asyncpg.Connection = raw.driver_connection
        if not found.is_closed():
            return found
        await opened.invalidate()
