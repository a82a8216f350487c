"""Statements of the hot paths: asyncpg runs them itself, on a connection of the engine's pool.

SQLAlchemy takes 100 us and more to hand a statement over and its rows back, which is most of what a small one
costs, and 50 us to lend a connection. Invariant: a connection that broke does not return to the pool.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

import asyncpg
from sqlalchemy.engine.interfaces import PoolProxiedConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres.engine import named_outages

NAME = re.compile(r"(?<!:):([a-z_]+)")


def hidden(name: str, type_: str) -> str:
    """An array whose length the planner can't see: whatever it is, one plan serves, so that it is soon kept.

    A plan that is made for a single row would seem so much cheaper than the kept one, which is for ten, that
    each execution would be planned anew, which takes as long as performing it.
    """
    return f"CAST((SELECT CAST(:{name} AS {type_})) AS {type_})"


class Statement:
    """SQL with `:named` values, prepared once by each connection."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def names(self) -> Sequence[str]:
        return list(dict.fromkeys(NAME.findall(self.text)))

    @cached_property
    def numbered(self) -> str:
        """As PostgreSQL takes it."""
        places = {name: f"${number}" for number, name in enumerate(self.names, start=1)}
        return NAME.sub(lambda found: places[found[1]], self.text)

    async def rows(self, engine: AsyncEngine, **values: Any) -> Sequence[asyncpg.Record]:
        """What it answers. Raises Unavailable, or what asyncpg raises."""
        async with driver(engine) as opened:
            found: Sequence[asyncpg.Record] = await opened.fetch(
                self.numbered, *(values[name] for name in self.names)
            )
        return found


@asynccontextmanager
async def driver(engine: AsyncEngine) -> AsyncIterator["asyncpg.Connection"]:
    """asyncpg's connection below one of the pool, in autocommit."""
    with named_outages():
        lent, found = await _living(engine)
        try:
            yield found
        finally:
            if found.is_closed():
                lent.invalidate()
            else:
                lent.close()


async def _living(engine: AsyncEngine) -> tuple[PoolProxiedConnection, "asyncpg.Connection"]:
    """One of the pool. What the server closed while it lay there is made anew."""
    while True:
        lent = await engine.raw_connection()
        found: asyncpg.Connection = lent.driver_connection
        if not found.is_closed():
            return lent, found
        lent.invalidate()
