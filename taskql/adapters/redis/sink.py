"""Publishes events without ever making anybody wait.

Invariant: `publish` only appends to a bounded buffer; a background loop does the rest and drops what Redis
does not take in one bounded try. Watchers find what was lost in PostgreSQL.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from taskql.adapters.redis.codec import channel, encode
from taskql.adapters.redis.connections import LIMIT_SECONDS, OUTAGE, account, impatient_client
from taskql.errors import Unavailable
from taskql.task import TaskEvent
from taskql.waiting import wait_for

logger = logging.getLogger(__name__)

BUFFERED_EVENTS = 10_000
BATCH_EVENTS = 500


class RedisEventSink:
    """EventSink over PUBLISH, from `async with` on."""

    def __init__(self, url: str) -> None:
        self._redis = impatient_client(url)
        # When it is full the oldest event gives way: newer ones say more.
        self._buffer: deque[TaskEvent] = deque(maxlen=BUFFERED_EVENTS)
        self._wake = asyncio.Event()
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._closing = False
        self._away = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.create_task(self._run(), name="redis event sink")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def publish(self, event: TaskEvent) -> None:
        self._buffer.append(event)
        self._flushed.clear()
        self._wake.set()

    async def flush(self) -> None:
        """Wait until Redis has all that was published, or has missed it; no longer than the usual limit.

        For a process that is about to be frozen.
        """
        await wait_for(self._flushed, LIMIT_SECONDS)

    async def ping(self) -> None:
        """Raises Unavailable unless Redis answers."""
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await self._redis.ping()
        except OUTAGE as error:
            raise Unavailable(f"Redis does not answer: {str(error) or type(error).__name__}") from error

    async def aclose(self) -> None:
        """Publish what is left, as far as that takes no longer than the usual limit."""
        self._closing = True
        self._wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(LIMIT_SECONDS):
                await self._loop
        await self._redis.aclose()

    async def _run(self) -> None:
        while self._buffer or not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._buffer:
                count = min(len(self._buffer), BATCH_EVENTS)
                await self._publish([self._buffer.popleft() for _ in range(count)])
            self._flushed.set()

    async def _publish(self, batch: Sequence[TaskEvent]) -> None:
        """One bounded try; the batch is gone afterwards, whatever happens."""
        try:
            async with asyncio.timeout(LIMIT_SECONDS), self._redis.pipeline(transaction=False) as pipeline:
                for event in batch:
                    pipeline.publish(channel(event.id), encode(event))
                await pipeline.execute()
        except OUTAGE as error:
            if not self._away:
                logger.warning("Redis is away: events get lost until it is back (%s)", account(error))
            self._away = True
        except Exception:
            logger.exception("%d events could not be published", len(batch))
        else:
            if self._away:
                logger.info("Redis is back: events are published again")
            self._away = False
