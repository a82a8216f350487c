"""A cluster of three Valkey servers, none of which has a replica."""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from redis.asyncio import Redis
from redis.crc import key_slot

from taskql.adapters.redis.codec import channel, owner_channel
from taskql.devstack.errors import DevStackError
from taskql.devstack.folder import Folder
from taskql.devstack.identity import CALLER
from taskql.devstack.valkey import Valkey
from tests.contract.redis_events import DEADLINE_SECONDS

SLOTS = 16_384
SIZE = 3
BUS = 10_000
"""A node's bus has its port and this."""
PORTS_TRIED = 5


class Member(Valkey):
    """One node: besides its socket it has a port, and it remembers its cluster."""

    port = 0

    def command(self) -> list[str]:
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "cluster-enabled": "yes",
            "cluster-node-timeout": "1000",
            "cluster-require-full-coverage": "no",
        }
        words = super().command()
        words[words.index("--port") : words.index("--port") + 2] = []
        return [*words, *(word for name, value in options.items() for word in (f"--{name}", value))]


async def ask(redis: Redis, *words: str | int) -> Any:
    return await redis.execute_command(*words)  # type: ignore[no-untyped-call]


class Cluster:
    """Three primaries without replicas."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members

    def url(self, at: int = 0) -> str:
        return f"redis://127.0.0.1:{self.members[at].port}/0"

    def client(self, at: int) -> Redis:
        return Redis.from_url(self.url(at), decode_responses=True)

    async def form(self) -> None:
        for at in range(SIZE):
            async with self.client(at) as redis:
                first, last = SLOTS * at // SIZE, SLOTS * (at + 1) // SIZE - 1
                await ask(redis, "CLUSTER", "ADDSLOTSRANGE", first, last)
                await ask(redis, "CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        async with self.client(0) as redis:
            for member in self.members[1:]:
                await ask(redis, "CLUSTER", "MEET", "127.0.0.1", member.port)
        await self.until_whole()

    async def until_whole(self) -> None:
        """Wait until every node says that all are there and all slots are served."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            for at in range(SIZE):
                async with self.client(at) as redis:
                    while not await is_whole(redis):
                        await asyncio.sleep(0.02)

    async def id(self, at: int) -> str:
        async with self.client(at) as redis:
            return str(await ask(redis, "CLUSTER", "MYID"))

    async def owner_of(self, slot: int) -> int:
        async with self.client(0) as redis:
            for first, last, (_, port, *_), *_ in await ask(redis, "CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return [member.port for member in self.members].index(port)
        raise AssertionError(f"nobody has slot {slot}")

    async def move(self, slot: int, to: int) -> None:
        """Give a slot to another node, as a resharding does in the end."""
        owner = await self.owner_of(slot)
        for at in (to, owner, *range(SIZE)):
            async with self.client(at) as redis:
                await ask(redis, "CLUSTER", "SETSLOT", slot, "NODE", await self.id(to))


async def is_whole(redis: Redis) -> bool:
    info = str(await ask(redis, "CLUSTER", "INFO"))
    nodes = str(await ask(redis, "CLUSTER", "NODES"))
    wanted = ("cluster_state:ok", f"cluster_slots_ok:{SLOTS}", f"cluster_known_nodes:{SIZE}")
    return all(each in info for each in wanted) and "fail" not in nodes and "handshake" not in nodes


def free_port() -> int:
    """A port that is free, and so is the one for the bus beside it."""
    while True:
        with closing(socket.socket()) as one, closing(socket.socket()) as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                other.bind(("127.0.0.1", port + BUS))
            except (OSError, OverflowError):
                continue
            return port


def start(folder_path: Path, stack: ExitStack) -> Member:
    folder = Folder(folder_path)
    folder.occupy(CALLER, patience=0)
    stack.callback(folder.leave)
    member = Member(folder)
    stack.callback(member.stop)
    for _ in range(PORTS_TRIED):
        member.port = free_port()
        with suppress(DevStackError):  # somebody else was quicker
            member.start()
            return member
    raise AssertionError("no port is free for long enough")


async def ids_on(cluster: Cluster, at: int, count: int = 1) -> list[UUID]:
    """Tasks whose channels belong to a node."""
    async with cluster.client(0) as redis:
        ranges = await ask(redis, "CLUSTER", "SLOTS")
    port = cluster.members[at].port
    slots = {
        slot for first, last, (_, owner, *_), *_ in ranges if owner == port for slot in range(first, last + 1)
    }
    ids = (uuid4() for _ in range(1000 * count))
    found = [task_id for task_id in ids if key_slot(channel(task_id).encode()) in slots]
    return found[:count]


def owner_on(at: int) -> str:
    """An owner whose channel belongs to a node, as the cluster was formed."""
    owners = (str(uuid4()) for _ in range(1000))
    return next(owner for owner in owners if key_slot(owner_channel(owner).encode()) * SIZE // SLOTS == at)
