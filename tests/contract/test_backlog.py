"""The backlog in real PostgreSQL: what `check-deploy` looks at."""

from collections.abc import AsyncIterator, Sequence
from uuid import uuid4

import pytest

from taskql.adapters.postgres import PostgresBacklog, backlog, open_engine
from taskql.devstack import DevStack
from taskql.errors import StartupError
from taskql.ports import Stored
from taskql.task import Failure
from tests.contract.conftest import KIND, MINUTE, OWNER, Database, create_database
from tests.contract.plans import indexes, nodes, noted, plan_of

MANY = """
WITH stored AS (
    INSERT INTO tasks (owner, kind, title, input, max_attempts)
    SELECT $1, $2, 'a title', '{}', 3 FROM generate_series(1, 3000) RETURNING id
)
INSERT INTO dispatch (task_id, queue) SELECT id, 'normal' FROM stored
"""


async def all_of(batches: AsyncIterator[Sequence[Stored]]) -> list[Stored]:
    return [stored async for batch in batches for stored in batch]


@pytest.fixture
def found(db: Database) -> PostgresBacklog:
    return PostgresBacklog(db.engine)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "BATCH", 2)


async def completed(db: Database, result: object, location: str | None = None, **fields: object) -> Stored:
    task = await db.create(**fields)  # type: ignore[arg-type]
    claim = await db.leases.claim(task.id, [task.kind], MINUTE)
    await db.leases.complete(claim.lease, result, location)  # type: ignore[union-attr]
    return Stored(task.id, task.kind, result)


async def test_every_task_that_is_not_terminal_is_read_once(db: Database, found: PostgresBacklog) -> None:
    pending = [await db.create(input={"number": number}) for number in range(5)]
    running = (await db.claimed(kind=KIND)).task
    blocked = await db.create(ordering_key="key")
    await completed(db, {"x": 1})
    cancelled = await db.create()
    await db.control.cancel(OWNER, cancelled.id)
    failed = await db.claimed()
    await db.leases.fail(failed.lease, Failure("PERMANENT", "no", retryable=False))
    expected = [Stored(task.id, task.kind, task.input) for task in (*pending, running, blocked)]
    assert await all_of(found.inputs()) == expected
    assert await found.waiting() == 7


async def test_an_empty_backlog_has_no_batches(db: Database, found: PostgresBacklog) -> None:
    assert await found.waiting() == 0
    assert await all_of(found.inputs()) == []
    assert await all_of(found.newest_results([KIND])) == []


async def test_results_are_read_newest_first(db: Database, found: PostgresBacklog) -> None:
    results = [await completed(db, {"number": number}) for number in range(5)]
    await db.create()
    assert await all_of(found.newest_results({KIND})) == results[::-1]


async def test_only_results_in_postgresql_of_the_wanted_kinds_are_read(
    db: Database, found: PostgresBacklog
) -> None:
    kept = await completed(db, None)
    await completed(db, None, "s3://elsewhere")
    await completed(db, {"x": 1}, kind="other")
    assert await all_of(found.newest_results({KIND})) == [kept]


async def test_a_kind_that_is_no_longer_wanted_is_not_asked_for_again(
    db: Database, found: PostgresBacklog
) -> None:
    results = [await completed(db, {"number": number}) for number in range(6)]
    wanted = {KIND}
    seen: list[Stored] = []
    async for batch in found.newest_results(wanted):
        seen += batch
        wanted.clear()
    assert seen == results[:-3:-1]


async def test_no_more_than_a_number_of_the_newest_tasks_is_looked_through(
    db: Database, found: PostgresBacklog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "NEWEST", 4)
    results = [await completed(db, {"number": number}) for number in range(6)]
    assert await all_of(found.newest_results({KIND})) == results[:1:-1]


async def test_a_task_that_ends_meanwhile_is_not_missed_nor_read_twice(
    db: Database, found: PostgresBacklog
) -> None:
    tasks = [await db.create() for _ in range(5)]
    seen: list[Stored] = []
    async for batch in found.inputs():
        if not seen:
            await db.control.cancel(OWNER, tasks[0].id)
            await db.control.cancel(OWNER, tasks[3].id)
        seen += batch
    assert [stored.id for stored in seen] == [tasks[number].id for number in (0, 1, 2, 4)]


async def test_a_batch_costs_the_same_however_much_waits(db: Database, found: PostgresBacklog) -> None:
    """Even before PostgreSQL has counted what there is."""
    await db.sql(MANY, OWNER, KIND)
    with noted(db.engine) as made:
        await anext(found.inputs())
        await anext(found.newest_results({KIND}))
    for statement in made:
        plan = await plan_of(db, statement)
        assert "Seq Scan" not in {node["Node Type"] for node in nodes(plan)}
        assert "tasks_pkey" in indexes(plan)


async def test_a_database_without_tables_says_what_to_do(stack: DevStack) -> None:
    async with open_engine(await create_database(stack, f"bare_{uuid4().hex}"), 1) as engine:
        with pytest.raises(StartupError, match=r"without tables of TaskQL.*migrate"):
            await PostgresBacklog(engine).waiting()
