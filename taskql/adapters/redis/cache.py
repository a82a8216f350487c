"""Reads the snapshots of tasks: many requests in one round trip, and none that waits for a slow Redis.

Invariant: one round trip at a time. What is asked meanwhile goes with the next one; if one takes longer than
a moment, whoever waits is sent to PostgreSQL, and so is everybody else until Redis has answered.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from taskql.adapters.redis import snapshot
from taskql.adapters.redis.codec import ForeignEvent
from taskql.adapters.redis.connections import OUTAGE, account
from taskql.adapters.redis.nodes import Nodes
from taskql.adapters.redis.sink import RedisEventSink
from taskql.task import Task

logger = logging.getLogger(__name__)

Answers = Iterable[asyncio.Future[Task | None]]

PATIENCE_SECONDS = 0.1
PAUSE_SECONDS = 1.0
"""After a failure, nobody asks for so long."""
CANCEL_AGAIN_SECONDS = 0.2
BATCH = 200


class RedisSnapshots:
    """SnapshotCache, from `async with` on. The sink writes the snapshots."""

    def __init__(self, url: str, sink: RedisEventSink) -> None:
        self._nodes = Nodes(url)
        self._sink = sink
        self._wanted: dict[UUID, asyncio.Future[Task | None]] = {}
        self._wake = asyncio.Event()
        self._shut = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.create_task(self._run(), name="redis snapshots")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A cancellation that meets redis-py while it connects can get lost there: ask until it has ended.
        while not self._loop.done():
            self._loop.cancel()
            await asyncio.wait([self._loop], timeout=CANCEL_AGAIN_SECONDS)
        self._send_away(())
        await self._nodes.aclose()

    async def fetch(self, task_id: UUID) -> Task | None:
        # What this process has told a client may not be in Redis yet.
        if self._shut or self._sink.is_unwritten(task_id):
            return None
        answer = self._wanted.get(task_id)
        if answer is None:
            answer = self._wanted[task_id] = asyncio.get_running_loop().create_future()
            self._wake.set()
        return await asyncio.shield(answer)

    def keep(self, task: Task) -> None:
        self._sink.keep(task)

    # ------------------------------------------------------------ the loop

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            ids = list(self._wanted)[:BATCH]
            answers = [self._wanted.pop(task_id) for task_id in ids]
            if not self._wanted:
                self._wake.clear()
            try:
                async with self._impatience(answers):
                    replies = await self._nodes.run([snapshot.lookup(task_id) for task_id in ids])
                for answer, reply in zip(answers, replies, strict=True):
                    resolve(answer, task_in(reply))
                self._shut = False
            except OUTAGE as error:
                await self._stay_away(answers, account(error))
            except Exception as error:
                logger.exception("The cache of statuses can't be read")
                await self._stay_away(answers, account(error))
            finally:
                for answer in answers:  # those of a loop that is cancelled, too
                    resolve(answer, None)

    @asynccontextmanager
    async def _impatience(self, answers: Answers) -> AsyncIterator[None]:
        """Whoever waits for longer than a moment is sent away, while we go on."""
        timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._send_away, answers)
        try:
            yield
        finally:
            timer.cancel()

    def _send_away(self, answers: Answers) -> None:
        """No more answers, neither to these nor to those who have come meanwhile, nor to those to come."""
        self._shut = True
        for answer in [*answers, *self._wanted.values()]:
            resolve(answer, None)
        self._wanted.clear()
        self._wake.clear()

    async def _stay_away(self, answers: Answers, reason: str) -> None:
        self._send_away(answers)
        logger.debug("The cache of statuses is not asked for %s s (%s)", PAUSE_SECONDS, reason)
        await asyncio.sleep(PAUSE_SECONDS)
        self._shut = False


def task_in(reply: Any) -> Task | None:
    try:
        return snapshot.found(reply)
    except ForeignEvent as error:
        logger.warning("What lies in the cache is not ours: %s", error)
        return None


def resolve(answer: asyncio.Future[Task | None], task: Task | None) -> None:
    if not answer.done():
        answer.set_result(task)
