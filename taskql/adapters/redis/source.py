"""The events of the tasks that this process watches, over one connection which is made anew when it fails.

Invariant: between a confirmed `watch` and `unwatch`, every event comes out of `events`, or a None that says
that some are missing. A frozen server looks just like a quiet one, so we send ourselves a canary each second.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

from taskql.adapters.redis.codec import ForeignEvent, channel, decode
from taskql.adapters.redis.connections import LIMIT_SECONDS, OUTAGE, account, impatient_client
from taskql.adapters.redis.pubsub import PubSub, open_pubsub
from taskql.errors import Unavailable
from taskql.task import TaskEvent

logger = logging.getLogger(__name__)

CANARY = b"canary"
CANARY_SECONDS = 1.0
CANARY_MISSES = 3
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
CANCEL_AGAIN_SECONDS = 0.2
WAITING_EVENTS = 10_000


class RedisEventSource:
    """EventSource over SUBSCRIBE, from `async with` on. Watching a task twice is watching it once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._canary_client = impatient_client(url)
        self._canary_channel = f"taskql:canary:{uuid4()}"
        self._watched: dict[UUID, asyncio.Event] = {}  # set while Redis has confirmed the subscription
        self._late: set[asyncio.Event] = set()  # somebody gave up waiting for these
        self._pubsub: PubSub | None = None
        self._events: asyncio.Queue[TaskEvent | None] = asyncio.Queue(WAITING_EVENTS)
        self._failures = 0
        self._missed = False  # somebody relied on a connection that is gone

    async def __aenter__(self) -> Self:
        self._loops = [
            asyncio.create_task(self._stay_connected(), name="redis event source"),
            asyncio.create_task(self._send_canaries(), name="redis canary"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A cancellation that meets redis-py while it connects can get lost there: ask until they have ended.
        while any(not loop.done() for loop in self._loops):
            for loop in self._loops:
                loop.cancel()
            await asyncio.wait(self._loops, timeout=CANCEL_AGAIN_SECONDS)
        await self._canary_client.aclose()

    async def watch(self, task_id: UUID) -> None:
        """Returns when Redis has confirmed the subscription.

        Raises Unavailable after a second; the task is watched all the same, and a None says from when on.
        """
        is_new = task_id not in self._watched
        subscribed = self._watched.setdefault(task_id, asyncio.Event())
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                if is_new and self._pubsub:
                    with suppress(*OUTAGE):  # then the loop subscribes on its next connection
                        await self._pubsub.subscribe({channel(task_id): partial(self._confirm, subscribed)})
                await subscribed.wait()
        except TimeoutError:
            self._late.add(subscribed)
            raise Unavailable("Redis does not answer; live updates are delayed until it does") from None

    async def unwatch(self, task_id: UUID) -> None:
        subscribed = self._watched.pop(task_id, None)
        if subscribed is None:
            return
        self._late.discard(subscribed)
        if self._pubsub:
            with suppress(*OUTAGE):
                await self._pubsub.unsubscribe(channel(task_id))

    async def events(self) -> AsyncIterator[TaskEvent | None]:
        while True:
            yield await self._events.get()

    # ------------------------------------------------------------ the connection

    async def _stay_connected(self) -> None:
        while True:
            try:
                await self._follow()
            except OUTAGE as error:
                if not self._failures:
                    logger.warning(
                        "Redis is away: live updates are delayed until it is back (%s)", account(error)
                    )
            except Exception:
                logger.exception("The connection to Redis is made anew")
            self._lose_connection()
            await asyncio.sleep(
                min(FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 10), LONGEST_PAUSE_SECONDS)
            )
            self._failures += 1

    async def _follow(self) -> None:
        """Connect, subscribe to all that is watched, and pass on what comes, until the connection fails."""
        async with open_pubsub(self._url) as self._pubsub:
            self._missed |= bool(self._late)  # one None, after the last subscription, will do for all of them
            self._late.clear()
            wanted = {
                channel(task_id): partial(self._confirm, subscribed)
                for task_id, subscribed in self._watched.items()
            }
            await self._pubsub.subscribe({**wanted, self._canary_channel: self._resume})
            async for data in self._pubsub.messages(CANARY_MISSES * CANARY_SECONDS):
                self._receive(data)

    async def _send_canaries(self) -> None:
        while True:
            with suppress(*OUTAGE):  # the listening side notices
                async with asyncio.timeout(LIMIT_SECONDS):
                    await self._canary_client.publish(self._canary_channel, CANARY)
            await asyncio.sleep(CANARY_SECONDS)

    def _confirm(self, subscribed: asyncio.Event) -> None:
        subscribed.set()
        if subscribed in self._late:
            self._late.remove(subscribed)
            self._offer(None)

    def _resume(self) -> None:
        """The new connection has all subscriptions of the old one."""
        if self._failures:
            logger.info("Redis is back: updates are live again")
        self._failures = 0
        if self._missed:
            self._offer(None)
        self._missed = False

    def _lose_connection(self) -> None:
        self._pubsub = None
        for subscribed in self._watched.values():
            self._missed |= subscribed.is_set()
            subscribed.clear()

    def _receive(self, data: bytes) -> None:
        if data == CANARY:
            return
        try:
            self._offer(decode(data))
        except ForeignEvent as error:
            logger.warning("A message on our channels is not ours: %s", error)

    def _offer(self, event: TaskEvent | None) -> None:
        """Hand over to `events`; for a reader that falls far behind, one None takes the place of all."""
        if self._events.full():
            while not self._events.empty():
                self._events.get_nowait()
            event = None
        self._events.put_nowait(event)
