"""What a connection has yet to send: at once where possible, else the newest of each thing, in order.

Invariant: memory is bounded by what may be waiting at a time, however slow the client; under one key only the
newest message waits, and what was added to it. There is a writer task only while something waits.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from starlette.types import Message, Scope, Send

SEND_NOW = "taskql.send_now"
"""The extension of ASGI by which our server takes a text that need not wait, without more ado."""
MAX_WAITING = 1_000
"""Things that may wait; then nothing more is read from the client, until it reads."""

SendNow = Callable[[Message], bool]
"""False where `send` has to see to a message."""

logger = logging.getLogger(__name__)


class Outgoing:
    """The sending half of one connection."""

    __slots__ = ("_moved_at", "_send", "_send_now", "_waiting", "_writer", "closed")

    def __init__(self, send: Send, send_now: SendNow | None = None) -> None:
        self._send = send
        self._send_now = send_now
        self._waiting: dict[object, list[Message]] = {}
        self._writer: asyncio.Task[None] | None = None
        self._moved_at = 0.0
        self.closed = False

    def put(self, key: object, message: Message) -> None:
        """Send this; if it has to wait, in place of all that waits under the same key."""
        if self._writer is not None and not self.closed:
            self._waiting[key] = [message]
        else:
            self._start(message)

    def add(self, key: object, message: Message) -> None:
        """Send this after what waits under the same key."""
        if self._writer is not None and not self.closed:
            self._waiting.setdefault(key, []).append(message)
        else:
            self._start(message)

    def discard(self, key: object) -> None:
        """Nobody wants what waits under the key."""
        self._waiting.pop(key, None)

    def close(self, last: Message) -> None:
        """Send this, and nothing else any more."""
        if self._writer is not None and not self.closed:
            self._waiting = {None: [last]}
        else:
            self._start(last)
        self.closed = True

    def abandon(self) -> None:
        """The client has gone: nothing is sent any more."""
        self.closed = True
        self._waiting.clear()

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= MAX_WAITING

    async def drained(self) -> None:
        """Returns when nothing waits."""
        while self._writer is not None:
            await asyncio.wait([self._writer])

    def stuck_seconds(self, now: float) -> float:
        """For how long nothing has moved, by the loop's time."""
        return 0.0 if self._writer is None else now - self._moved_at

    def _start(self, message: Message) -> None:
        """Send by running `send` up to where it has to wait; mostly it doesn't."""
        if self.closed or (self._send_now is not None and self._send_now(message)):
            return
        sending: Coroutine[Any, Any, None] = self._send(message)  # type: ignore[assignment]
        try:
            waits_for = sending.send(None)
        except StopIteration:
            return
        except Exception as error:
            self._fail(error)
            return
        self._moved_at = asyncio.get_running_loop().time()
        self._writer = asyncio.create_task(self._write(Continued(sending, waits_for)))

    async def _write(self, started: "Continued") -> None:
        loop = asyncio.get_running_loop()
        try:
            await started
            while self._waiting:
                for message in self._waiting.pop(next(iter(self._waiting))):
                    self._moved_at = loop.time()
                    await self._send(message)
        except Exception as error:
            self._fail(error)
        finally:
            self._writer = None

    def _fail(self, error: Exception) -> None:
        """The connection is gone; its reader will hear of it."""
        if not isinstance(error, OSError):
            logger.error("A message could not be sent", exc_info=error)
        self.abandon()


def send_now_of(scope: Scope) -> SendNow | None:
    """How our server takes what need not wait; None elsewhere."""
    send_now: SendNow | None = scope.get("extensions", {}).get(SEND_NOW, {}).get("send")
    return send_now


class Continued:
    """A coroutine that somebody has run up to its first wait, for a task to go on with."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        try:
            yield self._waits_for
        except BaseException:
            self._coroutine.close()
            raise
        yield from self._coroutine.__await__()
