"""Databases for the contract tests: cloned from a migrated template for each module, empty for each test."""

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres import (
    GroupedLeases,
    PostgresControl,
    PostgresDiscarded,
    PostgresDispatch,
    PostgresLeases,
    PostgresListings,
    PostgresTasks,
    migrate,
    open_engine,
)
from taskql.devstack import DevStack
from taskql.devstack.folder import Folder
from taskql.devstack.identity import CALLER
from taskql.devstack.valkey import Valkey
from taskql.ports import Claimed, Created
from taskql.task import NewTask, Task

OWNER = "ada"
KIND = "reverse"
MINUTE = timedelta(minutes=1)
PATIENCE = timedelta(minutes=15)
"""How long a task may meet only workers that do not know its kind."""

_numbers = itertools.count(1)


def new_task(
    title: str = "a title", *, key: str | None = None, hash: bytes = b"hash", **fields: Any
) -> NewTask:
    """A task as the service asks for it; with `key`, `hash` is that of the request."""
    wanted: dict[str, Any] = {
        "owner": OWNER,
        "kind": KIND,
        "description": None,
        "input": {"inputData": "abc"},
        "max_attempts": 3,
        "idempotency_key": key,
        "request_hash": None if key is None else hash,
    }
    return NewTask(title=title, **(wanted | fields))


@dataclass
class Database:
    """A migrated database: the adapters on it, and plain SQL."""

    engine: AsyncEngine
    direct: "asyncpg.Connection"

    def __post_init__(self) -> None:
        self.tasks = PostgresTasks(self.engine)
        self.listings = PostgresListings(self.engine)
        self.batches = PostgresLeases(self.engine, PATIENCE)
        self.leases = GroupedLeases(self.batches)
        self.dispatch = PostgresDispatch(self.engine)
        self.control = PostgresControl(self.engine)
        self.discarded = PostgresDiscarded(self.engine)

    async def sql(self, query: str, *values: Any) -> list[Any]:
        """The rows that a statement answers."""
        return list(await self.direct.fetch(query, *values))

    async def value(self, query: str, *values: Any) -> Any:
        return await self.direct.fetchval(query, *values)

    async def create(self, title: str = "a title", **fields: Any) -> Task:
        """A stored task."""
        [creation] = await self.tasks.create([new_task(title, **fields)])
        assert isinstance(creation, Created)
        return creation.task

    async def claim(self, task_id: UUID, lease_for: timedelta = MINUTE) -> Claimed:
        claim = await self.leases.claim(task_id, [KIND], lease_for)
        assert isinstance(claim, Claimed), claim
        return claim

    async def claimed(self, **fields: Any) -> Claimed:
        """A new task whose first attempt runs."""
        return await self.claim((await self.create(**fields)).id)

    async def task(self, task_id: UUID) -> Task:
        return (await self.tasks.fetch(OWNER, [task_id]))[task_id]

    async def row(self, task_id: UUID, table: str = "dispatch") -> dict[str, Any] | None:
        """The dispatch row of a task (or, by another table's name, what that holds of it)."""
        rows = await self.sql(f"SELECT * FROM {table} WHERE task_id = $1", task_id)
        return dict(rows[0]) if rows else None

    async def change(self, task_id: UUID, changes: str) -> None:
        """Change a dispatch row as time or an accident would: `changes` is SQL."""
        await self.direct.execute(f"UPDATE dispatch SET {changes} WHERE task_id = $1", task_id)

    async def expire_lease(self, task_id: UUID) -> None:
        await self.change(task_id, "lease_expires_at = now() - interval '1 second'")


async def create_database(stack: DevStack, name: str, template: str | None = None) -> str:
    """A new database on the stack's server; answers its URL."""
    server = stack.env["DATABASE_URL"]
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(
            f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else "")
        )
    finally:
        await connection.close()
    return str(make_url(server).set(database=name).render_as_string(hide_password=False))


@pytest.fixture(scope="session")
async def template(stack: DevStack) -> str:
    """The name of a migrated database that nobody is connected to."""
    name = "migrated"
    async with open_engine(await create_database(stack, name), 2) as engine:
        await migrate(engine)
    return name


@asynccontextmanager
async def clone(stack: DevStack, template: str) -> AsyncIterator[str]:
    """The URL of a new database like the template, for as long as it is needed."""
    name = f"clone_{next(_numbers)}"
    yield await create_database(stack, name, template)
    connection = await asyncpg.connect(stack.env["DATABASE_URL"])
    await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    await connection.close()


@pytest.fixture(scope="module")
async def database_url(stack: DevStack, template: str) -> AsyncIterator[str]:
    """A migrated database for the tests of one module."""
    async with clone(stack, template) as url:
        yield url


@pytest.fixture(scope="module")
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    async with open_engine(database_url, 20) as engine:
        yield engine


@pytest.fixture(scope="module")
async def module_database(database_url: str, engine: AsyncEngine) -> AsyncIterator[Database]:
    direct = await asyncpg.connect(database_url)
    yield Database(engine, direct)
    await direct.close()


@pytest.fixture
async def db(module_database: Database) -> Database:
    """The module's database, with nothing in it."""
    await module_database.sql(
        "TRUNCATE tasks, task_tags, dispatch, dead_letters, watermarks, orderings, discarded_results"
    )
    return module_database


@pytest.fixture
def redis_url(stack: DevStack) -> str:
    return stack.env["REDIS_URL"]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A Valkey that the tests of one module may kill and freeze."""
    folder = Folder(tmp_path_factory.mktemp("fragile"))
    folder.occupy(CALLER, patience=0)
    valkey = Valkey(folder)
    valkey.start()
    yield valkey
    valkey.stop()
    folder.leave()


@pytest.fixture
def fragile_url(valkey: Valkey) -> Iterator[str]:
    """The address of that Valkey, which is up before and after the test."""
    yield valkey.env["REDIS_URL"]
    valkey.resume()
    valkey.start()
