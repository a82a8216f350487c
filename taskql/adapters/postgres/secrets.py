"""Secrets that all processes share, in a table that no request reads."""

import secrets

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres.engine import connection

SECRET_BYTES = 32

MAKE = text("INSERT INTO secrets (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING")
READ = text("SELECT value FROM secrets WHERE name = :name")


class PostgresSecrets:
    """SecretStore over an engine in autocommit."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def secret(self, name: str) -> bytes:
        async with connection(self._engine) as opened:
            await opened.execute(MAKE, {"name": name, "value": secrets.token_bytes(SECRET_BYTES)})
            value: bytes = (await opened.execute(READ, {"name": name})).scalar_one()
            return value
