"""Queues that nobody tells of, against a real PostgreSQL: they are asked how far they are, and only they."""

from datetime import UTC, datetime, timedelta

import pytest

from taskql.queues import Queue, TaskPriority
from tests.contract.conftest import MINUTE, Database

HOUR = timedelta(hours=1)


async def sent(db: Database, priority: TaskPriority = TaskPriority.NORMAL, ago: str = "2 minutes") -> None:
    task = await db.create(priority=priority)
    await db.change(task.id, f"sent_at = now() - interval '{ago}', sends = 1")


async def test_a_queue_is_silent_while_nothing_is_known_of_what_was_sent_long_ago(db: Database) -> None:
    assert await db.dispatch.silent_queues(MINUTE) == []
    for _ in range(2):
        await sent(db)
    await sent(db, TaskPriority.LOW)
    assert set(await db.dispatch.silent_queues(MINUTE)) == {Queue.NORMAL, Queue.LOW}


async def test_a_queue_that_was_heard_of_lately_is_not_silent(db: Database) -> None:
    await sent(db)
    await sent(db, TaskPriority.HIGH)
    await db.dispatch.raise_watermark(Queue.NORMAL, datetime.now(UTC))
    await db.dispatch.raise_watermark(Queue.HIGH, datetime.now(UTC) - HOUR)
    assert await db.dispatch.silent_queues(MINUTE) == [Queue.HIGH]


@pytest.mark.parametrize("change", ["sent_at = NULL", "sent_at = now()", "lease_expires_at = now()"])
async def test_a_queue_that_owes_nothing_is_not_silent(db: Database, change: str) -> None:
    task = await db.create()
    await db.change(
        task.id, f"sent_at = now() - interval '2 minutes', {change}" if "lease" in change else change
    )
    assert await db.dispatch.silent_queues(MINUTE) == []
