"""A sink and a cache on one Valkey, as the tests of snapshots use them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from redis.asyncio import Redis

from taskql.adapters.redis import RedisEventSink, RedisSnapshots
from taskql.adapters.redis.codec import snapshot_key
from taskql.task import Task, TaskEvent


class Cache:
    """A sink and what reads its snapshots, with which a test may wait until all is written."""

    def __init__(self, sink: RedisEventSink, snapshots: RedisSnapshots, redis: Redis) -> None:
        self.sink, self.snapshots, self.redis = sink, snapshots, redis

    async def told(self, *events: TaskEvent) -> None:
        """Publish each in a batch of its own."""
        for event in events:
            self.sink.publish(event)
            await self.sink.flush()

    async def kept(self, *tasks: Task) -> None:
        for task in tasks:
            self.snapshots.keep(task)
            await self.sink.flush()

    async def forgotten(self, task_id: UUID) -> None:
        self.sink.forget(task_id)
        await self.sink.flush()

    async def fetch(self, task: TaskEvent) -> Task | None:
        return await self.snapshots.fetch(task.id)

    async def lasts_ms(self, task: TaskEvent) -> int:
        return int(await self.redis.pttl(snapshot_key(task.id)))


@asynccontextmanager
async def open_cache(url: str) -> AsyncIterator[Cache]:
    async with (
        RedisEventSink(url, snapshots=True) as sink,
        RedisSnapshots(url, sink) as snapshots,
        Redis.from_url(url) as redis,
    ):
        yield Cache(sink, snapshots, redis)
