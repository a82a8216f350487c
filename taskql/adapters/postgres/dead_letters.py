"""Dead letters as operators read them, newest first."""

from collections.abc import Collection
from dataclasses import fields
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres.engine import connection
from taskql.adapters.postgres.tables import dead_letters, letter_from
from taskql.ports import DeadLetter

COLUMNS = tuple(dead_letters.c[field.name] for field in fields(DeadLetter))


class PostgresDeadLetters:
    """DeadLetterStore over an engine in autocommit."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def page(self, limit: int, after: UUID | None = None) -> list[DeadLetter]:
        query = select(*COLUMNS).order_by(dead_letters.c.id.desc()).limit(limit)
        if after is not None:
            query = query.where(dead_letters.c.id < after)
        async with connection(self._engine) as opened:
            return [letter_from(row) for row in (await opened.execute(query)).mappings()]

    async def fetch(self, ids: Collection[UUID]) -> dict[UUID, DeadLetter]:
        query = select(*COLUMNS).where(dead_letters.c.id.in_(ids))
        async with connection(self._engine) as opened:
            rows = (await opened.execute(query)).mappings()
            return {row["id"]: letter_from(row) for row in rows}
