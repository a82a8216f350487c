"""QueueStore against a real PostgreSQL: each unfinished task counts once, where it belongs."""

from datetime import UTC, datetime, timedelta

from taskql.adapters.postgres import PostgresQueues
from taskql.ports import QueueFigures
from taskql.queues import Queue, TaskPriority
from taskql.task import Failure
from tests.contract.conftest import MINUTE, Database

NO = Failure("PERMANENT", "no", retryable=False)


async def figures(db: Database) -> dict[Queue, QueueFigures]:
    return {each.queue: each for each in await PostgresQueues(db.engine).figures()}


def counts(found: QueueFigures) -> tuple[int, int, int, int]:
    return found.depth, found.in_flight, found.delayed, found.dead_letters


async def test_empty_queues_have_figures_too_in_the_order_of_the_queues(db: Database) -> None:
    found = await PostgresQueues(db.engine).figures()
    assert found == [QueueFigures(queue, 0, 0, 0, None, 0) for queue in Queue]


async def test_each_task_counts_in_its_queue(db: Database) -> None:
    for priority, number in zip(TaskPriority, (1, 2, 3), strict=True):
        for _ in range(number):
            await db.create(priority=priority)
    found = await figures(db)
    assert [found[queue].depth for queue in (Queue.HIGH, Queue.NORMAL, Queue.LOW, Queue.FIFO)] == [1, 2, 3, 0]


async def test_a_task_counts_where_it_is_on_its_way(db: Database) -> None:
    task = await db.create()
    assert counts((await figures(db))[Queue.NORMAL]) == (1, 0, 0, 0)
    await db.change(task.id, "sent_at = now(), sends = 1")
    assert counts((await figures(db))[Queue.NORMAL]) == (1, 0, 0, 0)
    claim = await db.claim(task.id)
    assert counts((await figures(db))[Queue.NORMAL]) == (0, 1, 0, 0)
    await db.leases.retry(claim.lease, NO, MINUTE)
    assert counts((await figures(db))[Queue.NORMAL]) == (0, 0, 1, 0)
    await db.change(task.id, "available_at = now()")
    claim = await db.claim(task.id)
    await db.leases.fail(claim.lease, NO)
    assert counts((await figures(db))[Queue.NORMAL]) == (0, 0, 0, 1)


async def test_a_task_for_later_is_delayed_until_then(db: Database) -> None:
    task = await db.create(run_at=datetime.now(UTC) + MINUTE)
    assert counts((await figures(db))[Queue.NORMAL]) == (0, 0, 1, 0)
    await db.change(task.id, "available_at = now() - interval '1 second'")
    assert counts((await figures(db))[Queue.NORMAL]) == (1, 0, 0, 0)


async def test_of_tasks_in_order_all_but_the_first_wait_for_their_turn(db: Database) -> None:
    tasks = [await db.create(ordering_key="k") for _ in range(3)]
    await db.dispatch.unblock()
    assert counts((await figures(db))[Queue.FIFO]) == (1, 0, 2, 0)
    await db.leases.complete((await db.claim(tasks[0].id)).lease, {})
    await db.dispatch.unblock()
    assert counts((await figures(db))[Queue.FIFO]) == (1, 0, 1, 0)


async def test_the_oldest_age_is_that_of_the_task_that_has_been_due_longest(db: Database) -> None:
    old, older, leased, later = [await db.create() for _ in range(4)]
    await db.change(old.id, "available_at = now() - interval '10 seconds'")
    await db.change(older.id, "available_at = now() - interval '1 minute'")
    await db.claim(leased.id)
    await db.change(leased.id, "available_at = now() - interval '1 day'")
    await db.change(later.id, "available_at = now() + interval '1 day'")
    found = (await figures(db))[Queue.NORMAL].oldest_age
    assert found is not None
    assert MINUTE <= found < 2 * MINUTE
    assert (await figures(db))[Queue.HIGH].oldest_age is None


async def test_a_task_is_as_old_as_its_turn(db: Database) -> None:
    first, second = [await db.create(ordering_key="k") for _ in range(2)]
    await db.dispatch.unblock()
    await db.change(second.id, "available_at = now() - interval '1 hour'")
    await db.control.cancel(first.owner, first.id)
    await db.dispatch.unblock()
    found = (await figures(db))[Queue.FIFO].oldest_age
    assert found is not None
    assert timedelta(0) <= found < MINUTE


async def test_foreign_messages_count_among_the_dead_letters_of_their_queue(db: Database) -> None:
    await db.leases.bury(Queue.LOW, "body", "FOREIGN_MESSAGE: no JSON")
    assert counts((await figures(db))[Queue.LOW]) == (0, 0, 0, 1)
