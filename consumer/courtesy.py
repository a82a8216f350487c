"""Acknowledges without keeping anybody waiting: PostgreSQL has the outcome, the rest is a courtesy to SQS.

Invariant: whatever it was asked to acknowledge, it has tried to, once `settled` returns.
"""

import asyncio
import logging
from datetime import timedelta

from taskql.errors import Unavailable
from taskql.ports import Message, MessageReceiver
from taskql.queues import Queue

log = logging.getLogger(__name__)


class Courtesy(MessageReceiver):
    """A receiver whose acknowledgements go on by themselves, so that a slot need not wait for them."""

    def __init__(self, receiver: MessageReceiver) -> None:
        self._receiver = receiver
        self._under_way: set[asyncio.Task[None]] = set()

    async def acknowledge(self, message: Message) -> None:
        acknowledgement = asyncio.create_task(self._acknowledge(message))
        self._under_way.add(acknowledgement)
        acknowledgement.add_done_callback(self._under_way.discard)

    async def settled(self) -> None:
        """Wait for the acknowledgements that are under way."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def receive(self, queue: Queue, limit: int, wait: timedelta) -> list[Message]:
        return await self._receiver.receive(queue, limit, wait)

    async def hide(self, message: Message, duration: timedelta) -> None:
        await self._receiver.hide(message, duration)

    async def ping(self) -> None:
        await self._receiver.ping()

    async def _acknowledge(self, message: Message) -> None:
        """A failed one is harmless: the message comes again and finds nothing to do."""
        try:
            await self._receiver.acknowledge(message)
        except Unavailable as error:
            log.warning("a message could not be acknowledged: %s", error)
        except Exception:
            log.exception("a message could not be acknowledged")
