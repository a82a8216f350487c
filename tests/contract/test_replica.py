"""Lists from a replica: a real standby that streams, lags and dies."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import asyncpg
import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres import PostgresListings, PostgresTasks, migrate, open_engine, replica
from taskql.devstack import DevStack
from taskql.devstack.folder import Folder
from taskql.listing import PageRequest, TaskFilter
from tests.contract.conftest import OWNER, new_task
from tests.contract.plans import noted
from tests.contract.standby import Standby

ALL = TaskFilter()
PAGE = PageRequest(limit=100)


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    with DevStack(data=tmp_path_factory.mktemp("primary"), say=lambda _: None) as stack:
        yield stack


@pytest.fixture(scope="module")
async def engine(primary: DevStack) -> AsyncIterator[AsyncEngine]:
    async with open_engine(primary.env["DATABASE_URL"], 5) as engine:
        await migrate(engine)
        yield engine


@pytest.fixture
async def standby(
    primary: DevStack, engine: AsyncEngine, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Standby]:
    folder = Folder(tmp_path_factory.mktemp("standby"))
    folder.occupy(primary.postgres.identity, patience=0)
    standby = Standby(folder, primary.postgres.identity, primary.postgres)
    standby.start()
    yield standby
    standby.kill()
    folder.leave()


@pytest.fixture
async def copy(standby: Standby) -> AsyncIterator[AsyncEngine]:
    """An engine on the standby."""
    async with open_engine(standby.env["DATABASE_URL"], 5) as engine:
        yield engine


async def test_a_list_from_the_replica_has_what_was_stored_just_before(
    engine: AsyncEngine, copy: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "PATIENCE", timedelta(seconds=30))
    tasks, listings = PostgresTasks(engine), PostgresListings(engine, copy)
    with noted(copy) as asked:
        for number in range(50):
            owner = f"owner {number}"
            await tasks.create([new_task(owner=owner)])
            assert len((await listings.page(owner, ALL, PAGE)).tasks) == 1
            assert await listings.count(owner, ALL, 10) == 1
    assert sum("FROM tasks" in statement for statement, _ in asked) >= 100


async def test_a_replica_that_lags_is_passed_over_and_left_alone_for_a_while(
    engine: AsyncEngine, copy: AsyncEngine, standby: Standby, caplog: pytest.LogCaptureFixture
) -> None:
    tasks, listings = PostgresTasks(engine), PostgresListings(engine, copy)
    direct = await asyncpg.connect(standby.env["DATABASE_URL"])
    await direct.execute("SELECT pg_wal_replay_pause()")
    while await direct.fetchval("SELECT pg_get_wal_replay_pause_state()") != "paused":
        pass  # until it is
    try:
        [_] = await tasks.create([new_task(owner="late")])
        assert len((await listings.page("late", ALL, PAGE)).tasks) == 1
        with noted(copy) as asked:
            assert await listings.count("late", ALL, 10) == 1
    finally:
        await direct.execute("SELECT pg_wal_replay_resume()")
        await direct.close()
    assert not asked
    assert "the replica rests: it is too far behind" in caplog.text


async def test_lists_go_on_when_the_replica_dies(
    engine: AsyncEngine, copy: AsyncEngine, standby: Standby
) -> None:
    tasks, listings = PostgresTasks(engine), PostgresListings(engine, copy)
    await tasks.create([new_task(owner="bereft")])
    assert await listings.count("bereft", ALL, 10) == 1
    standby.kill()
    for _ in range(3):
        assert await listings.count("bereft", ALL, 10) == 1


async def test_what_is_no_replica_serves_nobody(engine: AsyncEngine, primary: DevStack) -> None:
    url = make_url(primary.env["DATABASE_URL"]).render_as_string(hide_password=False)
    async with open_engine(url, 2) as other:
        listings = PostgresListings(engine, other)
        with noted(other) as asked:
            await listings.page(OWNER, ALL, PAGE)
        assert not any("FROM tasks" in statement for statement, _ in asked)
