"""Watchers come and go by the thousand, most of them without a word: nothing of them stays in the API."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from taskql.devstack import DevStack
from tests.deployment import QUICK, Deployment, poll
from tests.inside import WITHIN_SECONDS, Inside
from tests.raw import ACKNOWLEDGED, END_OF_HEAD, HANDSHAKE, INIT, stream, subscribe
from tests.subscriber import WATCH
from tests.system import census

TASKS = 20
WARM_UP = 1_000
CYCLES = 4_000
AT_ONCE = 20
GROWTH_BYTES = 12 * 2**20
"""3 KiB a cycle: whoever kept a watcher, a socket or an asyncio task of each would be beyond."""
RESULT = b'"taskStatus"'


Way = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]


@pytest.fixture
async def deployment(stack: DevStack, tmp_path: Path) -> AsyncIterator[Deployment]:
    settings = {**QUICK, "TASK_HANDLERS": census.__name__}
    async with Deployment(stack, tmp_path, settings) as deployment:
        yield deployment


@pytest.fixture
def redis(stack: DevStack) -> Iterator[Redis]:
    with Redis.from_url(stack.env["REDIS_URL"]) as redis:
        yield redis


async def test_thousands_of_watchers_that_hang_up_leave_nothing_behind(
    deployment: Deployment, redis: Redis
) -> None:
    inside = Inside(deployment.start_api(), redis)
    some_day = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    task_ids = [await deployment.create_id(runAt=some_day) for _ in range(TASKS)]
    channels = inside.channels
    tasks = inside.asyncio_tasks

    await come_and_go(deployment.port, task_ids, WARM_UP)
    await asyncio.to_thread(poll, lambda: inside.asyncio_tasks <= tasks, WITHIN_SECONDS)
    descriptors, resident = inside.descriptors, inside.resident_bytes

    await come_and_go(deployment.port, task_ids, CYCLES)
    for emptied in (
        lambda: inside.asyncio_tasks <= tasks,
        lambda: inside.channels <= channels,
        lambda: inside.descriptors <= descriptors,
    ):
        await asyncio.to_thread(poll, emptied, WITHIN_SECONDS)
    assert inside.resident_bytes - resident < GROWTH_BYTES


async def come_and_go(port: int, task_ids: list[str], cycles: int) -> None:
    """So many watchers, a few at a time, over each transport and with each way to leave in turn."""
    ways = itertools.islice(itertools.cycle(itertools.product(task_ids, WAYS)), cycles)

    async def keep_coming() -> None:
        for task_id, way in ways:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                await way(reader, writer, task_id)
            finally:
                writer.transport.abort()
                with suppress(ConnectionError):
                    await writer.wait_closed()

    async with asyncio.timeout(WITHIN_SECONDS), asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(keep_coming())


async def watch_socket(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task_id: str, until: bytes | None
) -> None:
    writer.write(HANDSHAKE)
    await reader.readuntil(END_OF_HEAD)
    writer.write(INIT)
    await reader.readuntil(ACKNOWLEDGED)
    writer.write(subscribe(WATCH, id=task_id))
    if until:
        await reader.readuntil(until)


async def shake_hands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task_id: str) -> None:
    writer.write(HANDSHAKE)
    await reader.readuntil(END_OF_HEAD)
    writer.write(INIT)


async def watch_stream(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task_id: str, until: bytes | None
) -> None:
    writer.write(stream(WATCH, id=task_id))
    if until:
        await reader.readuntil(until)


WAYS: list[Way] = [
    shake_hands,
    partial(watch_socket, until=None),
    partial(watch_socket, until=RESULT),
    partial(watch_stream, until=None),
    partial(watch_stream, until=RESULT),
]
