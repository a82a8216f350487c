"""The statements of the hot paths, which asyncpg runs below SQLAlchemy's pool."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from uuid import UUID, uuid4

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres import PostgresDispatch, PostgresLeases, open_engine
from taskql.adapters.postgres.claims import CLAIM
from taskql.adapters.postgres.dispatch import MARK_SENT
from taskql.adapters.postgres.engine import connection
from taskql.adapters.postgres.leases import COMPLETE_MANY
from taskql.adapters.postgres.statement import Statement, driver
from taskql.devstack import DevStack
from taskql.errors import Denied, Unavailable
from taskql.ports import Dispatch, Success
from taskql.queues import Queue
from taskql.task import Lease
from tests.contract.conftest import KIND, MINUTE, PATIENCE, Database, new_task

PLANNED_ANEW = 5
"""So often PostgreSQL plans a prepared statement before it thinks of keeping a plan."""

BACKEND = Statement("SELECT pg_backend_pid() AS pid")

Perform = Callable[[AsyncEngine, Sequence[UUID]], Awaitable[object]]


async def claim(engine: AsyncEngine, ids: Sequence[UUID]) -> None:
    await PostgresLeases(engine, PATIENCE).claim_many(ids, [KIND], MINUTE)


async def complete(engine: AsyncEngine, ids: Sequence[UUID]) -> None:
    await PostgresLeases(engine, PATIENCE).complete_many([Success(Lease(id, 1), None) for id in ids])


async def mark_sent(engine: AsyncEngine, ids: Sequence[UUID]) -> None:
    await PostgresDispatch(engine).mark_sent([Dispatch(id, Queue.NORMAL, 0) for id in ids])


@pytest.fixture
async def alone(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine with one connection."""
    async with open_engine(database_url, 1) as engine:
        yield engine


@pytest.mark.parametrize(
    ("statement", "perform"),
    [(CLAIM, claim), (COMPLETE_MANY, complete), (MARK_SENT, mark_sent)],
    ids=["claim", "complete", "mark sent"],
)
async def test_however_many_tasks_it_is_for_a_statement_keeps_its_plan(
    db: Database, alone: AsyncEngine, statement: Statement, perform: Perform
) -> None:
    await db.tasks.create([new_task() for _ in range(300)])
    await db.sql("ANALYZE")
    for count in [1] * PLANNED_ANEW + [1, 2, 10, 40]:
        await perform(alone, [uuid4() for _ in range(count)])
    async with driver(alone) as opened:
        [plans] = await opened.fetch(
            "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement = $1",
            statement.numbered,
        )
    assert (plans["custom_plans"], plans["generic_plans"]) == (PLANNED_ANEW, 4)


async def test_a_connection_that_the_server_closed_is_made_anew(db: Database, alone: AsyncEngine) -> None:
    [before] = await BACKEND.rows(alone)
    assert await db.value("SELECT pg_terminate_backend($1, 5000)", before["pid"])
    async with driver(alone) as opened:
        await opened.close()
    [after] = await BACKEND.rows(alone)
    assert after["pid"] != before["pid"]


async def test_a_statement_that_is_cancelled_leaves_its_answer_to_nobody(
    db: Database, alone: AsyncEngine
) -> None:
    [own] = await BACKEND.rows(alone)
    slow = asyncio.create_task(Statement("SELECT 'slow' AS said FROM pg_sleep(60)").rows(alone))
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'"
    while not await db.value(asleep, own["pid"]):
        pass
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    [found] = await Statement("SELECT 'quick' AS said").rows(alone)
    assert found["said"] == "quick"
    async with connection(alone) as opened:
        assert await opened.scalar(text("SELECT 'quick'")) == "quick"


async def test_without_a_server_a_statement_finds_it_unavailable() -> None:
    async with open_engine("postgresql://taskql@127.0.0.1:1/taskql", 1) as engine:
        with pytest.raises(Unavailable):
            await BACKEND.rows(engine)


async def test_whom_the_server_does_not_know_is_denied(stack: DevStack) -> None:
    url = make_url(stack.env["DATABASE_URL"]).set(database="nobody_made_this")
    async with open_engine(url.render_as_string(hide_password=False), 1) as engine:
        with pytest.raises(Denied):
            await BACKEND.rows(engine)
