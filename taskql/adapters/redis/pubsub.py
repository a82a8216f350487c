"""One connection in Redis's pub/sub mode, from its making to its first failure.

Invariant: it is never made anew behind its user's back; whoever uses it hears of the failure, and knows
that messages may be missing.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import NamedTuple

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError

from taskql.adapters.redis.topology import Topology

SUBSCRIBE, UNSUBSCRIBE = "SUBSCRIBE", "UNSUBSCRIBE"
MAX_CHANNELS = 500
"""Of one command."""
MAX_ASKED = 5_000
"""Channels that are asked for by one writing."""

Confirmed = Callable[[], None]


class Asked(NamedTuple):
    """What we want of a channel, and whom to tell once Redis has confirmed it."""

    verb: str
    channel: str
    confirmed: Confirmed | None = None


class PubSub:
    """Subscriptions, and the messages of their channels. `write` and `messages` run beside each other."""

    def __init__(self, connection: AbstractConnection, topology: Topology) -> None:
        self._connection = connection
        self._topology = topology
        self._asked: deque[Asked] = deque()
        self._unconfirmed: deque[Asked] = deque()  # Redis answers in the order of its commands
        self._wake = asyncio.Event()

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
                packed = self._connection.pack_commands(list(self._commands(asked)))
                if (
                    not self._connection.is_connected
                ):  # redis-py would connect anew, without our subscriptions
                    raise ConnectionError("the connection was closed")
                self._unconfirmed.extend(asked)
                await self._connection.send_packed_command(packed)

    async def messages(self) -> AsyncIterator[tuple[bytes, bytes]]:
        """What is published, with its channel, until the connection fails."""
        while True:
            match await self._connection.read_response(disconnect_on_error=False):
                case [b"message" | b"smessage", bytes(channel), bytes(data)]:
                    yield channel, data
                case [bytes(verb), bytes(channel), int()]:
                    self._note(verb, channel)

    def _ask(self, asked: Asked) -> None:
        self._asked.append(asked)
        self._wake.set()

    def _commands(self, asked: Sequence[Asked]) -> Iterator[Sequence[str]]:
        """One for neighbours that want the same; in a cluster, only where they share a slot."""
        for (verb, _), group in groupby(asked, self._kind):
            while channels := [each.channel for each in islice(group, MAX_CHANNELS)]:
                yield (self._topology.sharded + verb, *channels)

    def _kind(self, asked: Asked) -> tuple[str, int]:
        return asked.verb, self._topology.slot(asked.channel)

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
