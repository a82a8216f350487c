"""Pub/sub with all servers there are, one connection each, from their making to the first failure of any.

Invariant: one that fails fails them all. That is simple, and quick: 10,000 subscriptions are made anew within
a fraction of a second, by a map of the cluster that is read anew.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NoReturn
from uuid import uuid4

from taskql.adapters.redis.connections import Connector, Node, connect
from taskql.adapters.redis.pubsub import Confirmed, PubSub, Receive
from taskql.adapters.redis.topology import Topologies, Topology

CANARY_MISSES = 3
OPENING_SECONDS = 5.0
"""For all connections. Longer than usual: thousands of clients who come at once may keep us from reading."""


class Session:
    """A frozen server looks just like a quiet one: each has to send us a canary now and then."""

    def __init__(self, topology: Topology, pubsubs: dict[Node, PubSub]) -> None:
        self._topology = topology
        self._pubsubs = pubsubs
        prefix = f"taskql:canary:{uuid4()}"
        self.canaries = {topology.name_on(node, prefix): node for node in pubsubs}
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
        for pubsub in self._pubsubs.values():
            if pubsub.silence >= CANARY_MISSES and not self._failed.done():
                missed = f"{pubsub.silence} canaries in a row did not come back"
                self._failed.set_exception(TimeoutError(missed))
            pubsub.silence += 1

    async def follow(self) -> None:
        """Returns, by raising why, when a connection fails or is silent for too long."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._until_failed())
                for pubsub in self._pubsubs.values():
                    group.create_task(pubsub.write())
                    group.create_task(pubsub.listen())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _until_failed(self) -> None:
        await self._failed


@asynccontextmanager
async def open_session(
    connector: Connector, topologies: Topologies, receive: Receive
) -> AsyncIterator[Session]:
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(OPENING_SECONDS):
            topology = await topologies.read()
            pubsubs = {}
            for node in topology.nodes:
                connection = connector.make(node)
                stack.push_async_callback(connection.disconnect, nowait=True)
                await connect(connection)
                pubsubs[node] = PubSub(connection, topology, receive)
        yield Session(topology, pubsubs)
