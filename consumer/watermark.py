"""How far each queue has been delivered: tells a message that waits from one that is lost."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

from taskql.ports import Message
from taskql.queues import Queue
from taskql.upkeep.pace import repeating

EVERY = timedelta(seconds=1)
LONG_POLL = timedelta(seconds=1)
"""A poll that waits so long asks all servers of a queue; a shorter one misses what others of them hold."""


class Watermarks:
    """The newest time of sending that this worker has seen on each queue; PostgreSQL has them each second."""

    def __init__(self, raise_watermark: Callable[[Queue, datetime], Awaitable[None]]) -> None:
        self._raise = raise_watermark
        self._seen: dict[Queue, datetime] = {}
        self._written: dict[Queue, datetime] = {}

    def note(self, queue: Queue, messages: Sequence[Message], asked_at: datetime, wait: timedelta) -> None:
        """Take in a poll's answer: an empty long one says that all sent before `asked_at` is delivered."""
        if messages:
            self._rise(queue, max(message.sent_at for message in messages))
        elif wait >= LONG_POLL:
            self._rise(queue, asked_at)

    def kept(self) -> AbstractAsyncContextManager[None]:
        """The watermarks are written while the block runs."""
        return repeating("watermarks", self._write, EVERY)

    def _rise(self, queue: Queue, to: datetime) -> None:
        self._seen[queue] = max(self._seen.get(queue, to), to)

    async def _write(self) -> None:
        for queue, seen in list(self._seen.items()):
            if seen != self._written.get(queue):
                await self._raise(queue, seen)
                self._written[queue] = seen
