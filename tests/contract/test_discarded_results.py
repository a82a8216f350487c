"""Results whose tasks are gone: they are noted in the statement that deletes the task, and swept once."""

from datetime import timedelta
from uuid import UUID

import pytest

from tests.contract.conftest import OWNER, Database

DAY = timedelta(days=1)


async def completed(db: Database, location: str | None) -> UUID:
    claim = await db.claimed()
    await db.leases.complete(claim.lease, None, location)
    return claim.lease.task_id


async def test_a_deleted_task_discards_its_result(db: Database) -> None:
    task_id = await completed(db, "s3://bucket/a")
    assert await db.discarded.reserve(10) == {}
    assert await db.control.delete(OWNER, task_id)
    assert await db.discarded.reserve(10) == {task_id: "s3://bucket/a"}


async def test_a_task_that_is_not_deleted_discards_nothing(db: Database) -> None:
    task_id = await completed(db, "s3://bucket/a")
    assert not await db.control.delete("bob", task_id)
    assert not await db.control.delete(OWNER, (await db.create()).id)
    assert await db.discarded.reserve(10) == {}


async def test_a_result_in_the_row_goes_with_the_row(db: Database) -> None:
    assert await db.control.delete(OWNER, await completed(db, None))
    assert await db.discarded.reserve(10) == {}


async def test_retention_discards_the_results_of_what_it_forgets(db: Database) -> None:
    large, small = await completed(db, "s3://bucket/a"), await completed(db, None)
    kept = await completed(db, "s3://bucket/kept")
    await db.sql("ALTER TABLE tasks DISABLE TRIGGER tasks_guard")
    await db.sql(
        "UPDATE tasks SET finished_at = now() - interval '2 days' WHERE id = ANY($1)", [large, small]
    )
    await db.sql("ALTER TABLE tasks ENABLE TRIGGER tasks_guard")
    assert await db.dispatch.forget_older(DAY, 10) == 2
    assert await db.value("SELECT array_agg(id) FROM tasks") == [kept]
    assert await db.discarded.reserve(10) == {large: "s3://bucket/a"}


async def test_what_is_reserved_is_left_to_its_holder_until_that_must_have_failed(db: Database) -> None:
    ids = [await completed(db, f"s3://bucket/{n}") for n in range(3)]
    for task_id in ids:
        await db.control.delete(OWNER, task_id)
    first = await db.discarded.reserve(2)
    assert set(first) == set(ids[:2]), "the longest gone first"
    assert set(await db.discarded.reserve(2)) == {ids[2]}
    assert await db.discarded.reserve(2) == {}
    await db.sql("UPDATE discarded_results SET reserved_until = now() - interval '1 second'")
    assert len(await db.discarded.reserve(3)) == 3


@pytest.mark.parametrize("count", [0, 1, 2])
async def test_what_is_removed_never_comes_again(db: Database, count: int) -> None:
    ids = [await completed(db, f"s3://bucket/{n}") for n in range(2)]
    for task_id in ids:
        await db.control.delete(OWNER, task_id)
    await db.discarded.remove(ids[:count])
    assert set(await db.discarded.reserve(10)) == set(ids[count:])
