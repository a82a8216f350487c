"""Secrets that all processes share: whoever asks first makes one, and everybody gets the same."""

import asyncio

from taskql.adapters.postgres import PostgresSecrets
from tests.contract.conftest import Database


async def test_all_who_ask_at_once_get_the_same_secret(db: Database) -> None:
    found = await asyncio.gather(*(PostgresSecrets(db.engine).secret("shared") for _ in range(8)))
    assert len(set(found)) == 1
    assert len(found[0]) == 32
    assert await PostgresSecrets(db.engine).secret("shared") == found[0]


async def test_each_name_has_a_secret_of_its_own(db: Database) -> None:
    store = PostgresSecrets(db.engine)
    assert await store.secret("one") != await store.secret("another")
