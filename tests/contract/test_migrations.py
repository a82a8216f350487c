"""The schema: reached once however many ask for it, and what the queries and the design expect of it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Dialect, Table, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres import is_current, migrate, migrations, open_engine
from taskql.adapters.postgres.engine import transaction
from taskql.adapters.postgres.revisions import VERSIONS, newest_revision, revisions
from taskql.adapters.postgres.tables import metadata
from taskql.devstack import DevStack
from taskql.errors import StartupError
from taskql.task import TASK_FIELDS
from tests.contract.conftest import Database, create_database

CHANGES_IN_FLIGHT = {
    "tasks": {
        "status", "version", "attempt", "max_attempts", "attempts", "progress", "started_at", "updated_at",
    },
    "dispatch": {"attempt", "lease_expires_at"},
}  # fmt: skip
"""What claims, heartbeats and progress change: an index on any of these ends heap-only updates."""

DIALECT: Dialect = postgresql.asyncpg.dialect()  # type: ignore[no-untyped-call]
OpenEmpty = Callable[[], AbstractAsyncContextManager[AsyncEngine]]
names = (f"empty_{number}" for number in itertools.count(1))


@pytest.fixture
def open_empty(stack: DevStack) -> OpenEmpty:
    """Opens a database that was never migrated."""

    @asynccontextmanager
    async def empty() -> AsyncIterator[AsyncEngine]:
        async with open_engine(await create_database(stack, next(names)), 10) as engine:
            yield engine

    return empty


def columns_of(sync: Connection, table: str) -> dict[str, tuple[str, bool]]:
    """Type and nullability of the columns that a table has."""
    return {
        column["name"]: (column["type"].compile(DIALECT), bool(column["nullable"]))
        for column in inspect(sync).get_columns(table)
    }


def columns_named(table: Table) -> dict[str, tuple[str, bool]]:
    return {column.name: (column.type.compile(DIALECT), bool(column.nullable)) for column in table.columns}


@pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)
async def test_columns_that_queries_name_are_in_the_database_with_the_same_types(
    engine: AsyncEngine, table: Table
) -> None:
    async with engine.connect() as connection:
        real = await connection.run_sync(columns_of, table.name)
    expected = columns_named(table)
    assert {name: real.get(name) for name in expected} == expected


def test_every_field_of_a_task_is_a_column() -> None:
    assert set(TASK_FIELDS) <= set(metadata.tables["tasks"].columns.keys())


def test_revisions_are_what_alembic_makes_of_their_files() -> None:
    scripts = ScriptDirectory(str(VERSIONS.parent))
    assert revisions() == [script.revision for script in scripts.walk_revisions()][::-1]
    assert newest_revision() == scripts.get_current_head()


async def test_an_empty_database_is_not_current_until_it_is_migrated(open_empty: OpenEmpty) -> None:
    async with open_empty() as engine:
        assert not await is_current(engine)
        assert await migrate(engine) == newest_revision() != ""
        assert await is_current(engine)


async def test_migrating_twice_changes_nothing(db: Database) -> None:
    task = await db.create()
    await migrate(db.engine)
    assert await db.task(task.id) == task


async def test_processes_that_migrate_at_the_same_time_share_one_migration(open_empty: OpenEmpty) -> None:
    async with open_empty() as engine:
        assert await asyncio.gather(*(migrate(engine) for _ in range(8))) == [newest_revision()] * 8
        assert await is_current(engine)


async def test_a_migration_that_fails_leaves_nothing_behind(open_empty: OpenEmpty) -> None:
    async with open_empty() as engine:
        async with engine.connect() as connection:
            await connection.exec_driver_sql("CREATE TABLE dead_letters (in_the_way integer)")
        with pytest.raises(Exception, match='relation "dead_letters" already exists'):
            await migrate(engine)
        assert not await is_current(engine)
        async with engine.connect() as connection:
            assert await connection.run_sync(lambda sync: inspect(sync).get_table_names()) == ["dead_letters"]


async def migrate_to(engine: AsyncEngine, revision: str) -> None:
    def upgrade(sync: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(VERSIONS.parent))
        config.attributes["connection"] = sync
        command.upgrade(config, revision)

    async with transaction(engine) as opened:
        await opened.run_sync(upgrade)


async def test_a_migration_does_not_wait_for_ever_for_a_table_that_somebody_reads(
    open_empty: OpenEmpty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All others would have to wait behind it."""
    monkeypatch.setattr(migrations, "LOCK_PATIENCE", "1ms")
    async with open_empty() as engine:
        await migrate_to(engine, "0007")
        async with transaction(engine) as reader:
            await reader.exec_driver_sql("SELECT FROM dispatch")
            with pytest.raises(StartupError, match="lock timeout"):
                await migrate(engine)
        assert await migrate(engine) == newest_revision()


async def test_what_had_come_back_before_returns_were_noted_is_still_found_by_its_change(
    open_empty: OpenEmpty,
) -> None:
    """`returned_at` tells by which it is found; what was never taken has none."""
    async with open_empty() as engine:
        await migrate_to(engine, "0007")
        async with engine.connect() as connection:
            await connection.exec_driver_sql(
                "WITH stored AS ("
                "INSERT INTO tasks (owner, kind, title, input, max_attempts, version) "
                "VALUES ('ada', 'x', 'fresh', '{}', 3, 1), ('ada', 'x', 'retried', '{}', 3, 3) RETURNING id) "
                "INSERT INTO dispatch (task_id, queue) SELECT id, 'normal' FROM stored"
            )
        await migrate(engine)
        async with engine.connect() as connection:
            rows = await connection.exec_driver_sql(
                "SELECT title FROM tasks t JOIN dispatch d ON d.task_id = t.id WHERE returned_at = updated_at"
            )
            assert rows.scalars().all() == ["retried"]


async def test_a_database_of_an_unknown_revision_is_not_current(open_empty: OpenEmpty) -> None:
    async with open_empty() as engine:
        await migrate(engine)
        async with engine.connect() as connection:
            await connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'from the future'")
        assert not await is_current(engine)


@pytest.mark.parametrize("table", CHANGES_IN_FLIGHT)
async def test_no_index_names_a_column_that_changes_in_flight(db: Database, table: str) -> None:
    indexes = await db.sql(
        "SELECT indexname AS name, indexdef AS code FROM pg_indexes WHERE tablename = $1", table
    )
    assert indexes
    named = {
        (index["name"], column)
        for index in indexes
        for column in CHANGES_IN_FLIGHT[table]
        if column in words(index["code"])
    }
    assert named == set()


@pytest.mark.parametrize("table", CHANGES_IN_FLIGHT)
async def test_pages_keep_room_for_heap_only_updates(db: Database, table: str) -> None:
    assert await db.value("SELECT reloptions FROM pg_class WHERE relname = $1", table) == ["fillfactor=70"]


def words(code: str) -> set[str]:
    """The names in an index's definition, its own and the table's aside."""
    return set("".join(each if each.isalnum() or each == "_" else " " for each in code).split())


async def test_a_task_takes_its_dispatch_row_along_when_it_is_deleted(db: Database) -> None:
    task = await db.create()
    assert await db.row(task.id) is not None
    await db.sql("DELETE FROM tasks WHERE id = $1", task.id)
    assert await db.row(task.id) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"owner": None},
        {"title": ""},
        {"title": "x" * 256},
        {"description": "x" * 10_001},
        {"status": "DONE"},
        {"priority": "URGENT"},
        {"max_attempts": 0},
        {"idempotency_key": "a key without a hash"},
        {"request_hash": b"a hash without a key"},
    ],
    ids=lambda wrong: "-".join(wrong),
)
async def test_the_database_refuses_what_no_task_may_be(db: Database, wrong: dict[str, Any]) -> None:
    right = {"owner": "ada", "kind": "reverse", "title": "x", "input": "{}", "max_attempts": 3}
    await insert(db, right)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await insert(db, right | wrong)


async def insert(db: Database, columns: dict[str, Any]) -> None:
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    await db.sql(f"INSERT INTO tasks ({', '.join(columns)}) VALUES ({places})", *columns.values())
