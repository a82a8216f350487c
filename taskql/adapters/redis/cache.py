"""Reads the snapshots of tasks, or sends whoever asks to PostgreSQL."""

import logging
from typing import Any
from uuid import UUID

from taskql.adapters.redis import snapshot
from taskql.adapters.redis.codec import ForeignEvent
from taskql.adapters.redis.nodes import Nodes
from taskql.adapters.redis.questions import Questions
from taskql.adapters.redis.sink import RedisEventSink
from taskql.task import Task

logger = logging.getLogger(__name__)


class RedisSnapshots(Questions[UUID, Task]):
    """SnapshotCache, from `async with` on. The sink writes the snapshots."""

    def __init__(self, url: str, sink: RedisEventSink) -> None:
        super().__init__(Nodes(url), "snapshots", snapshot.lookup, task_in)
        self._sink = sink

    async def fetch(self, task_id: UUID) -> Task | None:
        # What this process has told a client may not be in Redis yet.
        return None if self._sink.is_unwritten(task_id) else await self.ask(task_id)

    def keep(self, task: Task) -> None:
        self._sink.keep(task)


def task_in(reply: Any) -> Task | None:
    try:
        return snapshot.found(reply)
    except ForeignEvent as error:
        logger.warning("What lies in the cache is not ours: %s", error)
        return None
