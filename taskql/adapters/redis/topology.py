"""Which server is in charge of which keys and channels: one of all, or each primary of a cluster of some.

The server is asked, so nobody has to set what it is; and asked again whenever something goes wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from redis.crc import key_slot
from redis.exceptions import ClusterDownError, ResponseError

from taskql.adapters.redis.connections import ORIGIN, OUTAGE, Connector, Node, connect

SLOTS = 16_384


@dataclass(frozen=True, slots=True)
class Topology:
    """The primaries, and whose each of the 16,384 slots is. A server on its own has no slots."""

    nodes: Sequence[Node] = (ORIGIN,)
    owners: Sequence[Node] | None = None

    @property
    def sharded(self) -> str:
        """What PUBLISH and SUBSCRIBE begin with, where a channel is only known to its own node."""
        return "" if self.owners is None else "S"

    def slot(self, name: str) -> int:
        return 0 if self.owners is None else key_slot(name.encode())

    def node_of(self, name: str) -> Node:
        return ORIGIN if self.owners is None else self.owners[self.slot(name)]

    def name_on(self, node: Node, prefix: str) -> str:
        """A name that begins with `prefix` and belongs to the node."""
        return next(name for each in count() if self.node_of(name := f"{prefix}:{each}") == node)


class Topologies:
    """Asks the server of REDIS_URL; once it was seen to be of a cluster, any node that was seen there."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._seeds: list[Node] = [ORIGIN]

    async def read(self) -> Topology:
        """As of now. Raises what redis-py raises where nobody can be asked; set it a time limit."""
        last_error: Exception | None = None
        for seed in tuple(self._seeds):
            try:
                return await self._ask(seed)
            except OUTAGE as error:
                last_error = error
        assert last_error is not None
        raise last_error

    async def _ask(self, seed: Node) -> Topology:
        connection = self._connector.make(seed)
        # The next one to ask is another, unless this one answers: it may be frozen.
        self._seeds.append(self._seeds.pop(self._seeds.index(seed)))
        try:
            await connect(connection)
            await connection.send_command("CLUSTER", "SLOTS")
            ranges = await connection.read_response()
        except ResponseError:  # "This instance has cluster support disabled", in whichever words
            self._seeds = [ORIGIN]
            return Topology()
        finally:
            await connection.disconnect(nowait=True)
        topology = topology_of(ranges, seed.host or self._connector.host)
        self._seeds = [seed, *({ORIGIN, *topology.nodes} - {seed})]
        return topology


def topology_of(ranges: list[Any], asked: str) -> Topology:
    """What CLUSTER SLOTS has answered; a node whose host is not told is where we `asked`."""
    owners: list[Node | None] = [None] * SLOTS
    for first, last, (host, port, *_), *_ in ranges:
        owners[first : last + 1] = [Node((host or b"").decode() or asked, port)] * (last + 1 - first)
    known = [node for node in owners if node is not None]
    if len(known) < SLOTS:
        raise ClusterDownError(f"{SLOTS - len(known)} slots of the cluster belong to no node")
    return Topology(tuple(dict.fromkeys(known)), known)
