"""Places in an order, against a real PostgreSQL: who takes one, who joins the end, what is forgotten."""

import asyncio
from datetime import timedelta

import pytest

from taskql.lifecycle import TaskStatus
from taskql.ports import Created, Existing
from taskql.queues import ordering_group
from taskql.task import Failure
from tests.contract.conftest import OWNER, Database, new_task
from tests.contract.orders import numbers, ordered, run, sendable

FAILURE = Failure("PERMANENT", "no", retryable=False)
DAY = timedelta(days=1)


# ---------------------------------------------------------------- places


async def test_the_database_names_a_group_as_the_code_does(db: Database) -> None:
    task = await db.create(ordering_key="für 🚀", owner="lovelace:1")
    row = await db.row(task.id)
    assert row is not None
    assert row["ordering_group"] == task.ordering_group == ordering_group("lovelace:1", "für 🚀")
    await db.control.cancel("lovelace:1", task.id)
    await db.control.retry("lovelace:1", [task.id], {})
    again = await db.row(task.id)
    assert again is not None
    assert again["ordering_group"] == task.ordering_group


async def test_owners_and_keys_that_look_alike_together_are_groups_of_their_own(db: Database) -> None:
    pairs = [("a", "bc"), ("ab", "c"), ("1:a", "b"), ("1", ":ab"), ("a", "b"), ("b", "a")]
    assert len({ordering_group(owner, key) for owner, key in pairs}) == len(pairs)
    for owner, key in pairs:
        await db.create(owner=owner, ordering_key=key)
    assert len(await sendable(db)) == len(pairs)


async def test_a_task_without_a_key_has_no_place(db: Database) -> None:
    task = await db.create()
    row = await db.row(task.id)
    assert row is not None
    assert (row["ordering_group"], row["ordering_number"], row["blocked"]) == (None, None, False)
    assert await db.sql("SELECT * FROM orderings") == []


async def test_the_tasks_of_one_batch_take_places_in_its_order_key_by_key(db: Database) -> None:
    [before] = await ordered(db, 1)
    keys = ["k", None, "j", "k", "j", "k"]
    creations = await db.tasks.create([new_task(ordering_key=key) for key in keys])
    batch = [creation.task for creation in creations if isinstance(creation, Created)]
    assert await numbers(db, before, *batch) == [1, 2, None, 1, 3, 2, 4]
    assert [creation.dispatch is not None for creation in creations if isinstance(creation, Created)] == [
        key is None for key in keys
    ]
    assert (await db.create(ordering_key="k")).ordering_group == before.ordering_group


async def test_a_repeated_request_takes_no_tasks_place(db: Database) -> None:
    first, second = [await db.create(key=key, ordering_key="k") for key in "ab"]
    batch = [new_task(key=key, ordering_key="k") for key in ("a", "c", "b")]
    outcomes = await db.tasks.create(batch)
    assert [type(outcome) for outcome in outcomes] == [Existing, Created, Existing]
    third = outcomes[1]
    assert isinstance(third, Created)
    fourth = await db.create(ordering_key="k")
    assert await numbers(db, first, second) == [1, 2]
    for task in (first, second, third.task, fourth):
        assert await sendable(db) == [task.id]
        await run(db, task)
    assert await sendable(db) == []


async def test_places_only_rise_though_tasks_come_and_go(db: Database) -> None:
    taken = []
    for end in ("complete", "cancel", "delete", "retry"):
        [task] = await ordered(db, 1)
        taken += await numbers(db, task)
        await db.dispatch.unblock()
        if end == "complete":
            await run(db, task)
        else:
            await db.control.cancel(OWNER, task.id)
        if end == "delete":
            await db.control.delete(OWNER, task.id)
        if end == "retry":
            await db.control.retry(OWNER, [task.id], {})
            taken += await numbers(db, task)
    assert taken == [1, 2, 3, 4, 5]


# ---------------------------------------------------------------- revival


@pytest.mark.parametrize("by", ["its client", "its dead letter"])
async def test_a_revived_task_joins_the_end(db: Database, by: str) -> None:
    first, second = await ordered(db, 2)
    await db.dispatch.unblock()
    await db.leases.fail((await db.claim(first.id)).lease, FAILURE)
    if by == "its client":
        [revived] = await db.control.retry(OWNER, [first.id], {})
    else:
        found = await db.leases.redrive(first.id, 1, {})
        assert found is not None
        revived = found
    assert revived.dispatch is None
    assert await numbers(db, first, second) == [3, 2]
    for task in (second, first):
        assert await sendable(db) == [task.id]
        await run(db, task)


async def test_tasks_that_are_revived_together_keep_their_order(db: Database) -> None:
    tasks = await ordered(db, 4)
    other = await db.create(ordering_key="other")
    for task in (*tasks, other):
        await db.control.cancel(OWNER, task.id)
    await db.control.retry(OWNER, [task.id for task in (tasks[2], other, tasks[0], tasks[3])], {})
    assert await numbers(db, *tasks, other) == [5, 2, 6, 7, 2]


async def test_of_many_revivals_at_once_one_takes_a_place(db: Database) -> None:
    first, second = await ordered(db, 2)
    await db.dispatch.unblock()
    await db.leases.fail((await db.claim(first.id)).lease, FAILURE)
    revived = await asyncio.gather(
        *(db.control.retry(OWNER, [first.id], {}) for _ in range(8)),
        *(db.leases.redrive(first.id, 1, {}) for _ in range(8)),
    )
    assert sum(bool(found) for found in revived) == 1
    assert await numbers(db, first, second) == [3, 2]
    assert await db.value("SELECT number FROM orderings") == 3
    task = await db.task(first.id)
    assert (task.status, task.version) == (TaskStatus.PENDING, 4)


# ---------------------------------------------------------------- counters


async def test_counters_that_nothing_waits_for_are_forgotten(db: Database) -> None:
    [waits] = await ordered(db, 1, "waits")
    [runs] = await ordered(db, 1, "runs")
    [over] = await ordered(db, 1, "over")
    [fresh] = await ordered(db, 1, "fresh")
    await db.dispatch.unblock([str(task.ordering_group) for task in (runs, over, fresh)])
    await run(db, over)
    await run(db, fresh)
    await db.claim(runs.id)
    assert await db.dispatch.forget_orderings(DAY) == 0
    await db.sql(
        "UPDATE orderings SET used_at = now() - interval '2 days' WHERE name <> $1", fresh.ordering_group
    )
    assert await db.dispatch.forget_orderings(DAY) == 1
    kept = {row["name"] for row in await db.sql("SELECT name FROM orderings")}
    assert kept == {task.ordering_group for task in (waits, runs, fresh)}
    [again] = await ordered(db, 1, "over")
    assert await sendable(db) != []
    await run(db, again)


async def test_a_counter_in_use_is_not_waited_for(db: Database) -> None:
    """Who takes places in several groups locks them one by one: to wait for one with others in hand would
    be a deadlock."""
    for key in "ab":
        [task] = await ordered(db, 1, key)
        await db.control.cancel(OWNER, task.id)
    await db.sql("UPDATE orderings SET used_at = now() - interval '2 days'")
    async with db.direct.transaction(), asyncio.timeout(10):
        used = ordering_group(OWNER, "a")
        await db.sql("SELECT * FROM orderings WHERE name = $1 FOR UPDATE", used)
        assert await db.dispatch.forget_orderings(DAY) == 1
    assert await db.value("SELECT name FROM orderings") == used
