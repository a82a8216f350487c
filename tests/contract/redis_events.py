"""Tasks to tell of, a sink and a source, and what the tests wait for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from taskql.adapters.redis import RedisEventSink, RedisEventSource
from taskql.adapters.redis.codec import decode, encode
from taskql.lifecycle import AttemptOutcome, TaskStatus
from taskql.ports import Hearing
from taskql.queues import TaskPriority
from taskql.task import Attempt, Failure, Progress, Task, TaskEvent

DEADLINE_SECONDS = 60
NOW = datetime(2026, 11, 1, 12, 30, 15, 123456, tzinfo=UTC)


def a_task(task_id: UUID | None = None, version: int = 1, **fields: Any) -> Task:
    failure = Failure("RETRYABLE", "später 🚀", retryable=True)
    task = Task(
        id=task_id or uuid4(),
        status=TaskStatus.PROCESSING,
        version=version,
        attempt=2,
        max_attempts=3,
        attempts=(Attempt(1, NOW, NOW, AttemptOutcome.RETRIED, failure), Attempt(2, NOW)),
        progress=Progress(0.25, "a quarter"),
        result={"list": [1, 2.5, None, "x"]},
        failure=failure,
        expires_at=NOW,
        updated_at=NOW,
        started_at=NOW,
        finished_at=None,
        owner="mallory",
        kind="process",
        title="a private title",
        description=None,
        input={"secret": "private too"},
        priority=TaskPriority.HIGH,
        ordering_key="a private key",
        tags=("a private tag",),
        run_at=NOW,
        created_at=NOW,
    )
    return replace(task, **fields)


@asynccontextmanager
async def both(url: str) -> AsyncIterator[tuple[RedisEventSink, RedisEventSource]]:
    async with RedisEventSink(url) as sink, RedisEventSource(url) as source:
        yield sink, source


async def following(source: RedisEventSource) -> TaskEvent:
    """The next of the source's events; nothing was lost before it."""
    item = await upcoming(source)
    assert isinstance(item, TaskEvent)
    return item


async def upcoming(source: RedisEventSource) -> TaskEvent | Hearing:
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await anext(aiter(source.events()))


async def until(source: RedisEventSource, hearing: Hearing) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await upcoming(source) is not hearing:
            pass


async def until_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while text not in caplog.text:
            await asyncio.sleep(0.02)


async def until_delivered(sink: RedisEventSink, source: RedisEventSource, wanted: TaskEvent) -> None:
    """Publish again and again until it arrives: what is published during an outage may get lost."""

    async def insist() -> None:
        while True:
            sink.publish(wanted)
            await asyncio.sleep(0.05)

    insisting = asyncio.create_task(insist())
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while await upcoming(source) != decode(encode(wanted)):
                pass
    finally:
        insisting.cancel()
