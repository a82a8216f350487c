"""One invocation of Lambda: a batch of messages, through the same executor as a worker's.

Invariant: a message is acknowledged, or it comes again. Messages of one ordering group run one after another,
and none of them is begun after one before it has failed.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from consumer.executor import Executor
from consumer.time_limit import TimeLimit, within
from consumer.worker import LOOK_EVERY
from taskql.bootstrap import LambdaServices
from taskql.errors import Unavailable
from taskql.ports import Message, MessageReceiver
from taskql.queues import Queue
from taskql.settings import Settings
from taskql.upkeep.pace import repeating

Lane = Sequence[Message]
"""Messages that are dealt with one after another."""

log = logging.getLogger(__name__)


class Invocation:
    """Used once: an executor that has stopped its attempts starts no more."""

    def __init__(self, settings: Settings, services: LambdaServices, limit: TimeLimit) -> None:
        self._services = services
        self._limit = limit
        self._concurrency = settings.taskql_concurrency
        self._receipts = Receipts(services.receiver)
        self._executor = Executor(
            services.leases,
            self._receipts,
            services.events,
            services.outbox,
            within(services.registry, limit.longest),
            lease_for=settings.visibility,
            beat_every=settings.heartbeat,
            policy=services.policy,
            resources=services.resources,
            results=services.results,
        )
        self._begun: set[Message] = set()

    async def run(self, messages: Sequence[Message]) -> Collection[str]:
        """Deal with the messages; the receipts of those that are acknowledged."""
        if messages:
            async with repeating("leases", self._executor.stop_lost_attempts, LOOK_EVERY):
                await self._perform(messages)
        await self._say_last_words(messages)
        return self._receipts.acknowledged

    async def _perform(self, messages: Sequence[Message]) -> None:
        """As much as the time allows; what runs then is given back, and what has not begun."""
        lanes = deque(lanes_of(messages))
        hands = {asyncio.create_task(self._work(lanes)) for _ in range(min(self._concurrency, len(lanes)))}
        await asyncio.wait(hands, timeout=self._left_until(self._limit.stop))
        self._executor.stop_attempts()
        lanes.clear()
        returning = asyncio.create_task(self._give_back(set(messages) - self._begun))
        _, late = await asyncio.wait({*hands, returning}, timeout=self._left_until(self._limit.leave))
        for each in late:
            # A thread that goes on, say, whose outcome is recorded. Its result is thrown away.
            each.cancel()

    async def _work(self, lanes: deque[Lane]) -> None:
        while lanes:
            for message in lanes.popleft():
                if not (self._has_time() and await self._deal_with(message)):
                    break

    async def _deal_with(self, message: Message) -> bool:
        """Whether the message is acknowledged in the end."""
        self._begun.add(message)
        try:
            await self._executor.execute(message)
        except Exception:
            # The message comes again after its visibility time-out, the lease is rescued.
            log.exception("a message could not be dealt with")
        return message.receipt in self._receipts.acknowledged

    async def _give_back(self, messages: Collection[Message]) -> None:
        for outcome in await asyncio.gather(
            *(self._services.receiver.hide(message, timedelta(0)) for message in messages),
            return_exceptions=True,
        ):
            if isinstance(outcome, Exception):
                log.warning("a message stays invisible until its time-out: %s", outcome)

    async def _say_last_words(self, messages: Sequence[Message]) -> None:
        """Tell watchers and upkeep what they should know, while the container is still awake."""
        try:
            async with asyncio.timeout(self._left_until(self._limit.answer)):
                await self._services.flush()
                for queue, sent_at in newest(messages).items():
                    await self._services.raise_watermark(queue, sent_at)
        except (Unavailable, TimeoutError) as error:
            log.warning("how far the queues are was not written: %s", str(error) or "there was no time left")
        except Exception:  # the batch is dealt with, whatever this is
            log.exception("how far the queues are was not written")

    def _has_time(self) -> bool:
        return self._left_until(self._limit.stop) > 0

    def _left_until(self, moment: float) -> float:
        return moment - asyncio.get_running_loop().time()


class Receipts(MessageReceiver):
    """The receiver of one batch, which notes what the executor acknowledges.

    Lambda deletes what we don't report, so that acknowledging needs no request. Only what was hidden here by
    a heartbeat is deleted at once: it could come back before the slowest of its batch is done.
    """

    def __init__(self, receiver: MessageReceiver) -> None:
        self._receiver = receiver
        self._hidden: set[str] = set()
        self.acknowledged: set[str] = set()

    async def receive(self, queue: Queue, limit: int, wait: timedelta) -> list[Message]:
        return await self._receiver.receive(queue, limit, wait)

    async def acknowledge(self, message: Message) -> None:
        self.acknowledged.add(message.receipt)
        if message.receipt in self._hidden:
            await self._receiver.acknowledge(message)

    async def hide(self, message: Message, duration: timedelta) -> None:
        self._hidden.add(message.receipt)
        await self._receiver.hide(message, duration)

    async def ping(self) -> None:
        await self._receiver.ping()


def lanes_of(messages: Sequence[Message]) -> list[Lane]:
    """A lane for each ordering group of the FIFO queue, and one for every other message."""
    groups: defaultdict[str | Message, list[Message]] = defaultdict(list)
    for message in messages:
        # Standard queues can have groups too, which promise no order ("fair queues").
        group = message.ordering_group if message.queue is Queue.FIFO else None
        groups[group or message].append(message)
    return list(groups.values())


def newest(messages: Sequence[Message]) -> dict[Queue, datetime]:
    """When the newest message of each queue was sent."""
    found: dict[Queue, datetime] = {}
    for message in messages:
        found[message.queue] = max(found.get(message.queue, message.sent_at), message.sent_at)
    return found
