"""Pub/sub with all servers there are, one connection each, from their making to the first failure of any.

Invariant: one that fails fails them all. That is simple, and quick: 10,000 subscriptions are made anew within
a fraction of a second, by a map of the cluster that is read anew.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NoReturn
from uuid import uuid4

from taskql.adapters.redis.connections import Connector, Node, connect
from taskql.adapters.redis.pubsub import Confirmed, PubSub
from taskql.adapters.redis.topology import Topologies, Topology

CANARY_MISSES = 3
OPENING_SECONDS = 5.0
"""For all connections. Longer than usual: thousands of clients who come at once may keep us from reading."""

Receive = Callable[[bytes, bytes], None]
"""Takes a channel and what came over it."""


class Session:
    """A frozen server looks just like a quiet one: each has to send us a canary now and then."""

    def __init__(self, topology: Topology, pubsubs: dict[Node, PubSub]) -> None:
        self._topology = topology
        self._pubsubs = pubsubs
        prefix = f"taskql:canary:{uuid4()}"
        self.canaries = {topology.name_on(node, prefix): node for node in pubsubs}
        self._silence = dict.fromkeys(pubsubs, 0)
        self._failed: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()

    def subscribe(self, channel: str, confirmed: Confirmed) -> None:
        self._pubsubs[self._topology.node_of(channel)].subscribe(channel, confirmed)

    def unsubscribe(self, channel: str) -> None:
        self._pubsubs[self._topology.node_of(channel)].unsubscribe(channel)

    def tell_when_all_is_confirmed(self, standing: Confirmed) -> None:
        """Subscribe to the canaries, after all that was asked before."""
        missing = set(self.canaries)

        def confirm(canary: str) -> None:
            missing.discard(canary)
            if not missing:
                standing()

        for canary in self.canaries:
            self.subscribe(canary, lambda canary=canary: confirm(canary))  # type: ignore[misc]

    def count_silence(self) -> None:
        """Call when the next canaries are sent: a server that misses too many of them fails."""
        for node, missed in self._silence.items():
            if missed >= CANARY_MISSES and not self._failed.done():
                self._failed.set_exception(TimeoutError(f"{missed} canaries in a row did not come back"))
            self._silence[node] = missed + 1

    async def follow(self, receive: Receive) -> None:
        """Take what comes, until a connection fails or is silent for too long."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._until_failed())
                for node, pubsub in self._pubsubs.items():
                    group.create_task(pubsub.write())
                    group.create_task(self._listen(node, pubsub, receive))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _listen(self, node: Node, pubsub: PubSub, receive: Receive) -> None:
        async for channel, data in pubsub.messages():
            self._silence[node] = 0
            receive(channel, data)

    async def _until_failed(self) -> None:
        await self._failed


@asynccontextmanager
async def open_session(connector: Connector, topologies: Topologies) -> AsyncIterator[Session]:
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(OPENING_SECONDS):
            topology = await topologies.read()
            pubsubs = {}
            for node in topology.nodes:
                connection = connector.make(node)
                stack.push_async_callback(connection.disconnect, nowait=True)
                await connect(connection)
                pubsubs[node] = PubSub(connection, topology)
        yield Session(topology, pubsubs)
