"""The figures, the goals that ours are held against, and how each part of the measurement takes them."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.entrants import PYTHON, Entrant
from bench.noise import CpuMeter
from bench.ours import Ours
from bench.peer import PEERS, Peer
from bench.server import CLIENT_CORE
from taskql.devstack import DevStack

LIMIT_SECONDS = 240.0
USERS = 4
WATCHERS = 1000
PACED_PER_SECOND = 300
WARM_WATCHERS = 50
WARM_UP_SECONDS = 3
WARM_UP_TASKS = 400
"""Before anything is measured: a fresh process is slow, one with a JIT more than others."""


@dataclass(frozen=True)
class Goal:
    """Either so many times the best of these, or less than a number."""

    times: float = 0
    of: tuple[str, ...] = ()
    under: float = 0


@dataclass(frozen=True)
class Figure:
    title: str
    unit: str
    goals: tuple[Goal, ...] = ()
    more_is_better: bool = True


FIGURES = {
    "create": Figure("createTask (queues: enqueue)", "/s", (Goal(3, ("yoga", "mercurius")),)),
    "read": Figure("read one task", "/s", (Goal(1, ("mercurius",)),)),
    "e2e": Figure("end to end", "tasks/s", (Goal(5, ("yoga",)), Goal(4, ("procrastinate",)))),
    "seen_p50": Figure("created to seen completed, p50", "ms", (Goal(under=10),), more_is_better=False),
    "seen_p99": Figure("created to seen completed, p99", "ms", (Goal(under=40),), more_is_better=False),
    "fanout_one": Figure("fan-out, 1,000 watchers of one task", "messages/s", (Goal(2.5, ("yoga",)),)),
    "fanout_own": Figure("fan-out, 1,000 watchers, a task each", "messages/s", (Goal(1.5, ("yoga",)),)),
    "paced_p50": Figure("publish to client at 300/s, p50", "ms", more_is_better=False),
    "paced_p99": Figure("publish to client at 300/s, p99", "ms", more_is_better=False),
    "memory": Figure("memory of a subscription", "kB", (Goal(under=30),), more_is_better=False),
}


@dataclass
class Taken:
    """What one part gave."""

    values: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, dict[str, float]] = field(default_factory=dict)
    """By what was done: microseconds of each process for one of it."""


@dataclass(frozen=True)
class Session:
    """What every measurement shares."""

    stack: DevStack
    folder: Path
    seconds: float
    """Of a measurement in a closed loop."""
    scale: float = 1.0
    """Of the numbers of tasks and watchers: less than one for a mere trial."""

    @property
    def services(self) -> dict[str, int]:
        return {
            "postgres": self.stack.postgres.pid,
            "redis": self.stack.valkey.pid,
            "sqs": self.stack.sqs.pid,
        }

    @property
    def warm_up(self) -> tuple[object, ...]:
        return ("--warmup", WARM_UP_SECONDS * self.scale)

    def many(self, count: int) -> int:
        return max(1, int(count * self.scale))

    async def load(
        self, server: Ours | Peer, mode: str, *arguments: object, **changes: Any
    ) -> dict[str, Any]:
        """What the load generator found; `changes` to its profile."""
        profile = self.folder / "profile.json"
        profile.write_text(json.dumps({**server.profile, **changes}))
        pids = ",".join(f"{name}={pid}" for name, pid in {**server.pids, **self.services}.items())
        command = [str(PEERS / "loadgen.py"), mode, "--profile", str(profile), "--pids", pids]
        found = await ran([PYTHON, *command, "--core", str(CLIENT_CORE), *map(str, arguments)], None)
        if found.get("errors") or found.get("lost"):
            raise RuntimeError(f"{server.name}, {mode}: {found}")
        return found


async def ran(command: list[str], env: Mapping[str, str] | None) -> dict[str, Any]:
    """A program's last line, which is JSON."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=PEERS, env=env, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), LIMIT_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[1:3])}: {err.decode()[-800:]}")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


async def create(session: Session, entrant: Entrant, server: Ours | Peer) -> Taken:
    if isinstance(server, Peer) and server.driver:
        found = await driven(session, server, "enqueue", session.seconds)
        return Taken({"create": found["per_s"]}, {"create": found["cpu"]})
    found = await session.load(server, "ops", "--seconds", session.seconds, *session.warm_up)
    return Taken({"create": found["per_s"]}, {"create": found["cpu_us_per_op"]})


async def read(session: Session, entrant: Entrant, server: Ours | Peer) -> Taken:
    arguments = ("--op", "task", "--seconds", session.seconds, *session.warm_up)
    found = await session.load(server, "ops", *arguments)
    return Taken({"read": found["per_s"]}, {"read": found["cpu_us_per_op"]})


async def e2e(session: Session, entrant: Entrant, server: Ours | Peer) -> Taken:
    await server.start_worker()
    tasks = session.many(entrant.tasks)
    if isinstance(server, Peer) and server.driver:
        await driven(session, server, "run", session.many(WARM_UP_TASKS))
        found = await driven(session, server, "run", tasks)
        values = {"e2e": found["tasks_per_s"], "seen_p50": found["p50_ms"], "seen_p99": found["p99_ms"]}
        return Taken(values, {"e2e": found["cpu"]})
    await session.load(server, "e2e", "--n", session.many(WARM_UP_TASKS))
    found = await session.load(server, "e2e", "--n", tasks)
    if found["done"] < tasks:
        raise RuntimeError(f"{server.name}: {found['done']} of {tasks} tasks were completed")
    return Taken({"e2e": found["tasks_per_s"]}, {"e2e": found["cpu_us_per_op"]})


async def latency(session: Session, entrant: Entrant, server: Ours | Peer) -> Taken:
    await server.start_worker()
    await session.load(server, "e2e", "--n", session.many(WARM_UP_TASKS))
    users = ("--conns", USERS, "--seconds", session.seconds, "--watch", entrant.watches)
    found = await session.load(server, "latency", *users)
    return Taken({"seen_p50": found["p50_ms"], "seen_p99": found["p99_ms"]}, {})


async def fanout(session: Session, entrant: Entrant, server: Ours | Peer) -> Taken:
    watchers = session.many(WATCHERS)
    taken = Taken()
    warm_up = ("--subs", watchers, "--tasks", 1, "--seconds", WARM_UP_SECONDS * session.scale)
    await session.load(server, "fanout", *warm_up)
    for figure, tasks in (("fanout_one", 1), ("fanout_own", watchers)):
        arguments = ("--subs", watchers, "--tasks", tasks, "--seconds", session.seconds)
        found = await session.load(server, "fanout", *arguments)
        taken.values[figure] = found["msgs_per_s"]
        taken.cpu[figure] = found["cpu_us_per_op"]
    paced = (
        "--rate",
        PACED_PER_SECOND,
        "--subs",
        watchers,
        "--tasks",
        watchers,
        "--seconds",
        session.seconds,
    )
    found = await session.load(server, "fanout", *paced)
    return Taken({**taken.values, "paced_p50": found["p50_ms"], "paced_p99": found["p99_ms"]}, taken.cpu)


async def memory(session: Session, entrant: Entrant, server: Ours | Peer) -> Taken:
    """On a server that has served a few already: what the first ones cost is not what one more costs."""
    few, watchers = session.many(WARM_WATCHERS), session.many(WATCHERS)
    await session.load(server, "fanout", "--subs", few, "--tasks", few, "--seconds", 0.1)
    found = await session.load(server, "fanout", "--subs", watchers, "--tasks", watchers, "--seconds", 0.1)
    return Taken({"memory": found["kb_per_sub"]["server"]})


async def driven(session: Session, peer: Peer, *arguments: object) -> dict[str, Any]:
    """What a queue's own client found, with the CPU time of all processes but its own."""
    pinned = ["taskset", "-c", str(CLIENT_CORE), *peer.driver]
    with CpuMeter({**peer.pids, **session.services}) as meter:
        found = await ran([*pinned, *map(str, arguments)], peer.env)
    found["cpu"] = {name: used / found["ops"] * 1e6 for name, used in meter.used.items()}
    if "client_us" in found:
        found["cpu"]["server"] = found["client_us"]
    return found


PARTS: dict[str, Callable[[Session, Entrant, Ours | Peer], Awaitable[Taken]]] = {
    "create": create,
    "read": read,
    "e2e": e2e,
    "latency": latency,
    "fanout": fanout,
    "memory": memory,
}
