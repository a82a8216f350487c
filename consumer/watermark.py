"""How far a queue has been delivered: tells a message that waits from one that is lost."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

from taskql.ports import Message
from taskql.upkeep.pace import repeating

EVERY = timedelta(seconds=1)


class Watermark:
    """The newest time of sending that this worker has seen on its queue; PostgreSQL has it each second."""

    def __init__(self, queue: str, raise_watermark: Callable[[str, datetime], Awaitable[None]]) -> None:
        self._queue = queue
        self._raise = raise_watermark
        self._seen: datetime | None = None
        self._written: datetime | None = None

    def note(self, messages: Sequence[Message], asked_at: datetime) -> None:
        """Take in a poll's answer: an empty one says that all sent before `asked_at` is delivered."""
        newest = max((message.sent_at for message in messages), default=asked_at)
        self._seen = newest if self._seen is None else max(self._seen, newest)

    def kept(self) -> AbstractAsyncContextManager[None]:
        """The watermark is written while the block runs."""
        return repeating("watermark", self._write, EVERY)

    async def _write(self) -> None:
        if self._seen is not None and self._seen != self._written:
            seen = self._seen
            await self._raise(self._queue, seen)
            self._written = seen
