"""The events of what this process watches, over one connection (to each node), made anew when it fails.

Invariant: between a confirmed `watch` and `unwatch`, every event comes out of `events`, or a Hearing that
says that some are missing. LOST is not said twice without a BACK, which may come alone: some were missed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self
from uuid import UUID

from taskql.adapters.redis.codec import ForeignEvent, channel, decode, owner_channel
from taskql.adapters.redis.connections import LIMIT_SECONDS, OUTAGE, Connector, account
from taskql.adapters.redis.nodes import Nodes, publication
from taskql.adapters.redis.session import OPENING_SECONDS, Session, open_session
from taskql.adapters.redis.topology import Topologies
from taskql.errors import Unavailable
from taskql.ports import Hearing
from taskql.task import TaskEvent

logger = logging.getLogger(__name__)

CANARY = b"canary"
CANARY_SECONDS = 1.0
LOOKS = 4
"""How often, within the limit, we look whether anything comes from Redis for those who wait."""
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
CANCEL_AGAIN_SECONDS = 0.2
WAITING_EVENTS = 10_000


@dataclass(eq=False, slots=True)
class Subscription:
    """What is watched on one channel. `late`: somebody gave up waiting for it."""

    confirmed: bool = False
    late: bool = False
    answer: asyncio.Future[bool] | None = None


class RedisEventSource:
    """EventSource over SUBSCRIBE, from `async with` on. Watching a task twice is watching it once."""

    def __init__(self, url: str) -> None:
        self._connector = Connector(url, OPENING_SECONDS)
        self._topologies = Topologies(self._connector)
        self._canary_nodes = Nodes(url)
        self._watched: dict[str, Subscription] = {}  # by channel
        self._waiting: dict[Subscription, int] = {}  # somebody waits, since which look
        self._looks = 0
        self._closed = False
        self._session: Session | None = None
        self._events: deque[TaskEvent | Hearing] = deque()
        self._stirred = asyncio.Event()
        self._last: tuple[bytes, bytes] = b"", b""
        self._heard = 0
        self._failures = 0
        self._lost = False
        self._missed = False

    async def __aenter__(self) -> Self:
        self._loops = [
            asyncio.create_task(self._stay_connected(), name="redis event source"),
            asyncio.create_task(self._send_canaries(), name="redis canary"),
            asyncio.create_task(self._give_up_waiting(), name="redis clock"),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        for subscription in list(self._waiting):
            self._answer(subscription, False)
        # A cancellation that meets redis-py while it connects can get lost there: ask until they have ended.
        while any(not loop.done() for loop in self._loops):
            for loop in self._loops:
                loop.cancel()
            await asyncio.wait(self._loops, timeout=CANCEL_AGAIN_SECONDS)
        await self._canary_nodes.aclose()

    async def watch(self, task_id: UUID) -> None:
        """Returns when Redis has confirmed the subscription.

        Raises Unavailable when nothing at all has come from Redis for a second. The task is watched all the
        same, and a BACK says from when on.
        """
        await self._watch(channel(task_id))

    async def unwatch(self, task_id: UUID) -> None:
        self._unwatch(channel(task_id))

    async def watch_owner(self, owner: str) -> None:
        await self._watch(owner_channel(owner))

    async def unwatch_owner(self, owner: str) -> None:
        self._unwatch(owner_channel(owner))

    async def events(self) -> AsyncIterator[TaskEvent | Hearing]:
        while True:
            while self._events:
                yield self._events.popleft()
            self._stirred.clear()
            await self._stirred.wait()

    # ------------------------------------------------------------ what is watched

    async def _watch(self, name: str) -> None:
        subscription = self._watched.get(name)
        if subscription is None:
            subscription = self._watched[name] = Subscription()
            if self._session is not None:
                self._session.subscribe(name, partial(self._confirm, subscription))
        if subscription.confirmed:
            return
        if self._closed:
            raise Unavailable("This process stops listening to Redis")
        if subscription.answer is None:
            subscription.answer = asyncio.get_running_loop().create_future()
            self._waiting[subscription] = self._looks
        if not await asyncio.shield(subscription.answer):
            raise Unavailable("Redis does not answer; live updates are delayed until it does")

    def _unwatch(self, name: str) -> None:
        subscription = self._watched.pop(name, None)
        if subscription is None:
            return
        subscription.late = False
        if self._session is not None:
            self._session.unsubscribe(name)

    def _confirm(self, subscription: Subscription) -> None:
        self._heard += 1
        subscription.confirmed = True
        self._answer(subscription, True)
        if subscription.late:
            subscription.late = False
            self._offer(Hearing.BACK)

    def _answer(self, subscription: Subscription, confirmed: bool) -> None:
        self._waiting.pop(subscription, None)
        if subscription.answer is not None:
            subscription.answer.set_result(confirmed)
        subscription.answer = None

    async def _give_up_waiting(self) -> None:
        """Send away those who wait, but only while nothing at all comes from Redis.

        We look some times within the limit and count the looks, not the time: where this process is busy, not
        Redis, both are late. One clock for all: thousands of them would keep us busy.
        """
        heard, heard_at = self._heard, 0
        while True:
            await asyncio.sleep(LIMIT_SECONDS / LOOKS)
            self._looks += 1
            if self._heard != heard:
                heard, heard_at = self._heard, self._looks
            # Those who came first come first.
            while self._waiting and self._looks - heard_at > LOOKS:
                subscription, since = next(iter(self._waiting.items()))
                if self._looks - since <= LOOKS:
                    break
                subscription.late = True
                self._answer(subscription, False)

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
        """Connect, subscribe to all that is watched, and pass on what comes, until a connection fails."""
        async with open_session(self._connector, self._topologies, self._receive) as self._session:
            self._heard += 1
            for name, subscription in self._watched.items():
                self._missed |= subscription.late  # one BACK, after the last one, will do for all of them
                subscription.late = False
                self._session.subscribe(name, partial(self._confirm, subscription))
            self._session.tell_when_all_is_confirmed(self._resume)
            await self._session.follow()

    async def _send_canaries(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            next_time = loop.time() + CANARY_SECONDS
            if self._session is not None:
                self._session.count_silence()
                with suppress(*OUTAGE):  # the listening side notices
                    await self._canary_nodes.run(
                        [publication(canary, CANARY) for canary in self._session.canaries]
                    )
            await asyncio.sleep(next_time - loop.time())

    def _resume(self) -> None:
        """The new connection has all subscriptions of the old one."""
        if self._failures:
            logger.info("Redis is back: updates are live again")
        self._failures = 0
        if self._lost or self._missed:
            self._lost = self._missed = False
            self._offer(Hearing.BACK)

    def _lose_connection(self) -> None:
        self._session = None
        self._last = b"", b""
        for subscription in self._watched.values():
            subscription.confirmed = False
        if not self._lost:
            self._lost = True
            self._offer(Hearing.LOST)

    # ------------------------------------------------------------ what comes

    def _receive(self, name: bytes, data: bytes) -> None:
        self._heard += 1
        if data == CANARY or self._is_the_same(name, data):
            return
        try:
            self._offer(decode(data))
        except ForeignEvent as error:
            logger.warning("A message on our channels is not ours: %s", error)

    def _is_the_same(self, name: bytes, data: bytes) -> bool:
        """Whether this event has just come over its other channel: a task can be watched by both."""
        last_name, last_data = self._last
        self._last = name, data
        return data == last_data and name != last_name

    def _offer(self, item: TaskEvent | Hearing) -> None:
        """Hand over to `events`; for a reader that falls far behind, one Hearing takes the place of all."""
        if len(self._events) >= WAITING_EVENTS:
            self._events.clear()
            item = Hearing.LOST if self._lost else Hearing.BACK
        self._events.append(item)
        self._stirred.set()
