"""Commands, many at a time, to the servers in charge of their keys, within one time limit.

Invariant: the replies stand in the order of their commands, whichever servers they went to.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import (
    AskError,
    ClusterDownError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from taskql.adapters.redis.connections import LIMIT_SECONDS, Connector, Node
from taskql.adapters.redis.pipe import Pipe
from taskql.adapters.redis.topology import Topologies, Topology
from taskql.adapters.redis.wire import Words
from taskql.errors import Unavailable

ELSEWHERE = (AskError, ClusterDownError, TryAgainError, ReadOnlyError)
"""The answers of a node that is not, or no more, in charge. (A MovedError is an AskError.)"""


class Command(NamedTuple):
    """`key` says which node it goes to."""

    key: str
    words: Words


def publication(channel: str, data: bytes) -> Command:
    return Command(channel, ("PUBLISH", channel, data))


class Nodes:
    """All the servers there are. Whoever calls while another's commands are on their way waits for them."""

    def __init__(self, url: str, script: str | None = None) -> None:
        self._connector = Connector(url)
        self._topologies = Topologies(self._connector)
        self._topology: Topology | None = None
        self._script = script
        self._pipes: dict[Node, Pipe] = {}
        self._turn = asyncio.Lock()

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """The replies in order; a command that was refused has its ResponseError there.

        Commands that met a node which is not in charge, or gone, go once more by a new map. Raises what
        redis-py raises, or TimeoutError, where a node can't be asked: others may have done their part.
        """
        async with asyncio.timeout(LIMIT_SECONDS), self._turn:
            try:
                return await self._run(commands)
            except BaseException:
                await self._forget_map()
                raise

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        replies = await self._try(commands)
        if again := misdirected(replies):
            await self._forget_map()
            for at, reply in zip(again, await self._try([commands[at] for at in again]), strict=True):
                replies[at] = reply
            for at in misdirected(replies):
                raise replies[at]
        return replies

    async def ping(self) -> None:
        """Raises Unavailable unless every server answers."""
        try:
            async with asyncio.timeout(LIMIT_SECONDS), self._turn:
                for node in (await self._map()).nodes:
                    await self._pipe(node).run([("PING",)])
        except (RedisError, OSError) as error:
            raise Unavailable(f"Redis does not answer: {str(error) or type(error).__name__}") from error

    async def aclose(self) -> None:
        for pipe in self._pipes.values():
            await pipe.close()

    async def _try(self, commands: Sequence[Command]) -> list[Any]:
        topology = await self._map()
        if topology.owners is None:
            return await self._pipe(topology.nodes[0]).run([command.words for command in commands])
        return await self._spread(topology, commands)

    async def _spread(self, topology: Topology, commands: Sequence[Command]) -> list[Any]:
        """Each node its commands, all at once; a node's failure stands for the replies that it owes."""
        places: defaultdict[Node, list[int]] = defaultdict(list)
        for at, command in enumerate(commands):
            places[topology.node_of(command.key)].append(at)
        answers = await asyncio.gather(
            *(
                self._pipe(node).run([sharded(commands[at].words) for at in ats])
                for node, ats in places.items()
            ),
            return_exceptions=True,
        )
        replies: list[Any] = [None] * len(commands)
        for ats, answer in zip(places.values(), answers, strict=True):
            for index, at in enumerate(ats):
                replies[at] = answer if isinstance(answer, BaseException) else answer[index]
        return replies

    async def _map(self) -> Topology:
        if self._topology is None:
            self._topology = await self._topologies.read()
        return self._topology

    async def _forget_map(self) -> None:
        self._topology = None
        await self.aclose()
        self._pipes.clear()

    def _pipe(self, node: Node) -> Pipe:
        if node not in self._pipes:
            self._pipes[node] = Pipe(self._connector.make(node), self._script)
        return self._pipes[node]


def misdirected(replies: Sequence[Any]) -> list[int]:
    """Which commands were not performed, for what may be a reason of where they went."""
    return [
        at
        for at, reply in enumerate(replies)
        if isinstance(reply, BaseException)
        and (isinstance(reply, ELSEWHERE) or not isinstance(reply, ResponseError))
    ]


def sharded(words: Words) -> Words:
    return ("SPUBLISH", *words[1:]) if words[0] == "PUBLISH" else words
