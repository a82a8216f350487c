"""One connection in Redis's pub/sub mode, from its opening to its first failure.

Invariant: it is never made anew behind its user's back; whoever uses it hears of the failure, and knows
that messages may be missing.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple, NoReturn

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError

from taskql.adapters.redis.topology import Topology
from taskql.adapters.redis.wire import Wire, Words

SUBSCRIBE, UNSUBSCRIBE = "SUBSCRIBE", "UNSUBSCRIBE"
PUBLISHED = (b"message", b"smessage")
"""What a message begins with; anything else confirms, or takes away, a subscription."""
MAX_CHANNELS = 500
"""Of one command."""
MAX_ASKED = 5_000
"""Channels that are asked for by one writing."""

Confirmed = Callable[[], None]
Receive = Callable[[bytes, bytes], None]
"""Takes a channel and what came over it."""


class Asked(NamedTuple):
    """What we want of a channel, and whom to tell once Redis has confirmed it."""

    verb: str
    channel: str
    confirmed: Confirmed | None = None


class PubSub(Wire):
    """Subscriptions, and the messages of their channels. `write` and `listen` run beside each other.

    `silence` counts what its user says; each message sets it to nought.
    """

    def __init__(self, connection: AbstractConnection, topology: Topology, receive: Receive) -> None:
        super().__init__(connection)
        self.silence = 0
        self._topology = topology
        self._receive = receive
        self._asked: deque[Asked] = deque()
        self._unconfirmed: deque[Asked] = deque()  # Redis answers in the order of its commands
        self._wake = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._failure: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    def subscribe(self, channel: str, confirmed: Confirmed) -> None:
        self._ask(Asked(SUBSCRIBE, channel, confirmed))

    def unsubscribe(self, channel: str) -> None:
        self._ask(Asked(UNSUBSCRIBE, channel))

    async def write(self) -> None:
        """Send what is asked; all that was asked at about the same time goes in few commands."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._asked:
                asked = [self._asked.popleft() for _ in range(min(len(self._asked), MAX_ASKED))]
                self._unconfirmed.extend(asked)
                self.send(self._commands(asked))
                await self._writable.wait()

    async def listen(self) -> NoReturn:
        """Messages are received until the connection fails; raises why."""
        raise await self._failure

    def _ask(self, asked: Asked) -> None:
        self._asked.append(asked)
        self._wake.set()

    def _commands(self, asked: Sequence[Asked]) -> Iterator[Words]:
        """One for neighbours that want the same; in a cluster, only where they share a slot."""
        for (verb, _), group in groupby(asked, self._kind):
            while channels := [each.channel for each in islice(group, MAX_CHANNELS)]:
                yield (self._topology.sharded + verb, *channels)

    def _kind(self, asked: Asked) -> tuple[str, int]:
        return asked.verb, self._topology.slot(asked.channel)

    # ------------------------------------------------------------ what comes

    def take(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            raise reply
        kind, channel, content = reply
        if kind in PUBLISHED:
            self.silence = 0
            self._receive(channel, content)
        else:
            self._note(kind, channel)

    def _note(self, verb: bytes, channel: bytes) -> None:
        """Redis has done what we asked; or, in a cluster, it takes away a channel that has moved."""
        head = self._unconfirmed[0] if self._unconfirmed else None
        if head is None or (head.channel.encode(), self._verb(head)) != (channel, verb):
            raise ConnectionError(f"Redis has ended a subscription by itself ({verb.decode()})")
        self._unconfirmed.popleft()
        if head.confirmed is not None:
            head.confirmed()

    def _verb(self, asked: Asked) -> bytes:
        return (self._topology.sharded + asked.verb).lower().encode()

    def fail(self, error: Exception) -> None:
        if not self._failure.done():
            self._failure.set_result(error)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()
