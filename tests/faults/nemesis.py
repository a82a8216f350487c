"""Breaks things by a seeded plan. Each fault is bounded, and healed before the next one of its lane.

Lanes run beside each other, so that faults overlap: a consumer is frozen while PostgreSQL restarts.
"""

import asyncio
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis

from taskql.devstack import DevStack
from taskql.devstack.server import Server
from tests.deployment import Deployment, Process
from tests.faults import failpoints
from tests.faults.crew import Crew
from tests.faults.failpoints import Failpoint
from tests.faults.history import AWAY, History, connected
from tests.faults.proxy import Ailment, Proxy
from tests.faults.queues import Queues

LOOK_SECONDS = 0.05
PAUSE_SECONDS = (0.5, 4.0)
"""Between the faults of a lane: the deepest races need tasks that are running."""
ARMED_SECONDS = 3.0
READY_SECONDS = 90.0
BUSY_SECONDS = 8.0
BEYOND_THE_LEASE_SECONDS = 1.5
TAKEOVER_SECONDS = 3.0
CONNECTIONS = 300

Fault = Callable[[], Awaitable[bool | None]]
"""Answers False if it came to nothing."""


class Nemesis:
    """What can be done to a deployment, and a plan of it."""

    def __init__(
        self, stack: DevStack, deployment: Deployment, crew: Crew, proxy: Proxy, armory: Path, seed: int
    ) -> None:
        self.faults: Counter[str] = Counter()
        self.queue_lost_at: datetime | None = None
        self.dead_letters_lost_at: datetime | None = None
        self._stack = stack
        self._deployment = deployment
        self._crew = crew
        self._proxy = proxy
        self._queues = Queues(deployment)
        self._armory = armory
        self._seed = seed
        self._rng = random.Random(f"{seed} nemesis")
        self._lease_seconds = float(deployment.env["TASKQL_VISIBILITY_SECONDS"])
        self._beyond_the_lease = self._lease_seconds + BEYOND_THE_LEASE_SECONDS

    async def rage(self, seconds: float) -> None:
        """All lanes, until the time is over; everything is healed then."""
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as lanes:  # if one fails, the others heal before we go on
            for name, faults in self._lanes().items():
                lanes.create_task(self._lane(name, faults, until))

    def _lanes(self) -> dict[str, dict[str, Fault]]:
        return {
            "consumers": {
                "consumer: kill -9": self.kill_consumer,
                "consumer: SIGTERM under load": self.stop_consumer,
            },
            "freezer": {"consumer: frozen past its lease": self.freeze_consumer},
            "api": {
                "API: kill -9": self.kill_api,
                "API: frozen": self.freeze_api,
                "API: SIGTERM under load": self.stop_api,
            },
            "failpoints": {
                f"dies {each.name.replace('_', ' ').lower()}": partial(self.die_at, each)
                for each in Failpoint
            },
            "sqs": {
                "SQS: killed, all is lost": self.lose_queues,
                "SQS: rolled back to a snapshot": self.roll_queues_back,
                "SQS: purged": self.purge,
                "SQS: frozen": partial(self.freeze_server, self._stack.sqs),
                **{f"SQS: {each.value}": partial(self.fall_ill, each) for each in Ailment},
            },
            "postgres": {
                "PostgreSQL: kill -9": partial(self.kill_server, self._stack.postgres),
                "PostgreSQL: frozen": partial(self.freeze_server, self._stack.postgres),
                "PostgreSQL: restarted": self.restart_postgres,
                "PostgreSQL: all pools exhausted by a lock": self.lock_tables,
                "PostgreSQL: no connection left": self.use_up_connections,
            },
            "redis": {
                "Redis: kill -9": partial(self.kill_server, self._stack.valkey),
                "Redis: frozen": partial(self.freeze_server, self._stack.valkey),
                "Redis: all connections cut": self.cut_redis,
            },
        }

    async def _lane(self, name: str, faults: dict[str, Fault], until: float) -> None:
        """Go through the lane's faults in a shuffled order, again and again."""
        rng = random.Random(f"{self._seed} {name}")
        deck: list[str] = []
        while True:
            await asyncio.sleep(rng.uniform(*PAUSE_SECONDS))
            if time.monotonic() >= until:
                return
            deck = deck or shuffled(sorted(faults), rng)
            fault = deck.pop()
            if await faults[fault]() is not False:
                self.faults[fault] += 1

    # ------------------------------------------------------------ processes

    async def kill_consumer(self) -> bool:
        return self._strike(self._consumer(), signal.SIGKILL) is not None

    async def kill_api(self) -> bool:
        return self._strike(self._api(), signal.SIGKILL) is not None

    async def freeze_consumer(self) -> bool:
        """It goes on as if nothing had happened, when attempts of its tasks are somebody else's."""
        await self._look_for(History.is_busy, BUSY_SECONDS)
        return await self._freeze(self._consumer(), self._takeover())

    async def freeze_api(self) -> bool:
        return await self._freeze(self._api(), asyncio.sleep(self._rng.uniform(1, self._beyond_the_lease)))

    async def stop_consumer(self) -> bool:
        return await self._stop(self._consumer())

    async def stop_api(self) -> bool:
        return await self._stop(self._api())

    async def die_at(self, failpoint: Failpoint) -> bool:
        armed = failpoints.arm(self._armory, failpoint)
        try:
            return await met(lambda: not armed.exists(), ARMED_SECONDS)
        finally:
            armed.unlink(missing_ok=True)

    def _api(self) -> Process | None:
        return self._rng.choice(self._crew.apis or [None])

    def _consumer(self) -> Process | None:
        return self._rng.choice(self._crew.consumers or [None])

    def _strike(self, process: Process | None, number: int) -> Process | None:
        if process is not None:
            process.signal(number)
        return process

    async def _freeze(self, process: Process | None, pause: Coroutine[Any, Any, None]) -> bool:
        self._strike(process, signal.SIGSTOP)
        try:
            await pause
        finally:
            self._strike(process, signal.SIGCONT)
        return process is not None

    async def _takeover(self) -> None:
        """Wait until its tasks run again elsewhere, no longer than their rescue may take."""
        since = datetime.now(UTC)
        await asyncio.sleep(self._lease_seconds - 1)  # a lease's last heartbeat was a second ago, at most
        await self._look_for(lambda it: it.has_takeover(since), BEYOND_THE_LEASE_SECONDS + TAKEOVER_SECONDS)

    async def _look_for(self, sight: Callable[[History], Awaitable[bool]], seconds: float) -> None:
        """Look into PostgreSQL, which other lanes break meanwhile."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(*AWAY):
                async with asyncio.timeout(1), connected(self._deployment) as history:
                    if await sight(history):
                        return

    async def _stop(self, process: Process | None) -> bool:
        if process is not None:
            await self._crew.stop(process)
        return process is not None

    # ------------------------------------------------------------ SQS

    async def lose_queues(self) -> None:
        """Every message is gone, and the queues with them."""
        self._stack.sqs.kill()
        shutil.rmtree(self._stack.data / "sqs" / "state", ignore_errors=True)
        self._note_loss()
        await asyncio.sleep(self._rng.uniform(0.2, 2))
        await self._up(self._stack.sqs)

    async def roll_queues_back(self) -> None:
        """What was sent since a while ago is gone, and what was acknowledged since is back."""
        self._stack.sqs.ask_to_stop()
        await met(lambda: not self._stack.sqs.alive, READY_SECONDS)
        await self._up(self._stack.sqs)
        await asyncio.sleep(self._rng.uniform(0.5, 2))
        await self.kill_server(self._stack.sqs)
        self._note_loss()

    def _note_loss(self) -> None:
        self.queue_lost_at = self.dead_letters_lost_at = datetime.now(UTC)

    async def purge(self) -> None:
        """The queues for tasks alone: what the dead-letter queues hold then must all be there in the end."""
        await asyncio.to_thread(self._queues.purge)
        self.queue_lost_at = datetime.now(UTC)

    async def fall_ill(self, ailment: Ailment) -> None:
        with self._proxy.ill(ailment):
            await asyncio.sleep(self._rng.uniform(1, 3))

    # ------------------------------------------------------------ PostgreSQL

    async def restart_postgres(self) -> None:
        self._stack.postgres.ask_to_stop()
        await met(lambda: not self._stack.postgres.alive, READY_SECONDS)
        await self._up(self._stack.postgres)

    async def lock_tables(self) -> None:
        """Nearly every statement hangs, and with it every connection of every pool."""
        connection = await self._deployment.connect()
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE dispatch IN ACCESS EXCLUSIVE MODE")
                await asyncio.sleep(self._rng.uniform(1, self._beyond_the_lease))
        finally:
            await connection.close()

    async def use_up_connections(self) -> None:
        """Those that are open are cut, and there are no others."""
        async with AsyncExitStack() as taken:
            first = await self._deployment.connect()
            taken.push_async_callback(first.close)
            await first.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            for _ in range(CONNECTIONS):
                try:
                    taken.push_async_callback((await self._deployment.connect()).close)
                except asyncpg.TooManyConnectionsError:
                    break
            await asyncio.sleep(self._rng.uniform(0.5, 2))

    # ------------------------------------------------------------ Redis

    async def cut_redis(self) -> None:
        """Events are lost until everybody has connected again."""
        async with Redis.from_url(self._stack.env["REDIS_URL"]) as redis:
            for kind in ("normal", "pubsub"):
                await redis.client_kill_filter(_type=kind, skipme=True)

    # ------------------------------------------------------------ any server

    async def kill_server(self, server: Server) -> None:
        server.kill()
        await asyncio.sleep(self._rng.uniform(0.1, 2))
        await self._up(server)

    async def freeze_server(self, server: Server) -> None:
        """Connections stay open, and nothing answers."""
        server.pause()
        try:
            await asyncio.sleep(self._rng.uniform(1, 5))
        finally:
            server.resume()

    async def _up(self, server: Server) -> None:
        """Start a server without holding up everything else in this process."""
        server.launch()
        assert await met(server.is_ready, READY_SECONDS), f"{server.name} does not come back"
        if server is self._stack.sqs:
            self._deployment.make_queues()


def shuffled(names: Sequence[str], rng: random.Random) -> list[str]:
    return rng.sample(names, len(names))


async def met(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        await asyncio.sleep(LOOK_SECONDS)
    return True
