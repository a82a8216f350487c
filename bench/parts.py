"""How each part of the measurement takes its figures of a server, whoever wrote it.

Invariant: the parts of one stage share its processes, in this order; each stage has fresh ones.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from bench.entrants import Entrant
from bench.ours import Ours
from bench.peer import Peer
from bench.session import Session

USERS = 4
QUEUE_PROBES = 40
"""Tasks by which a queue's latency is taken, one after another."""
WATCHERS, FEW_WATCHERS = 1000, 50
PACED_PER_SECOND = 300
FANOUT_WARM_UP_SECONDS = 3
STAGES = (("create",), ("read",), ("e2e", "latency"), ("memory", "fanout"))


@dataclass
class Taken:
    """What one part gave."""

    values: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, dict[str, float]] = field(default_factory=dict)
    """By what was done: microseconds of each process for one of it."""


async def create(session: Session, entrant: Entrant, server: Ours | Peer) -> Taken:
    if isinstance(server, Peer) and server.driver:
        found = await session.driven(server, "enqueue", session.seconds)
        return Taken({"create": found["per_s"]}, {"create": found["cpu"]})
    found = await session.load(server, "ops", "--op", "create", *times(session, entrant))
    return Taken({"create": found["per_s"]}, {"create": found["cpu_us_per_op"]})


async def read(session: Session, entrant: Entrant, server: Ours | Peer) -> Taken:
    found = await session.load(server, "ops", "--op", "task", *times(session, entrant))
    return Taken({"read": found["per_s"]}, {"read": found["cpu_us_per_op"]})


def times(session: Session, entrant: Entrant) -> tuple[object, ...]:
    return ("--warmup", entrant.warm_up_seconds * session.scale, "--seconds", session.seconds)


async def e2e(session: Session, entrant: Entrant, server: Ours | Peer) -> Taken:
    await working(session, entrant, server)
    tasks = session.many(entrant.tasks)
    if isinstance(server, Peer) and server.driver:
        found = await session.driven(server, "run", tasks)
        return Taken({"e2e": found["tasks_per_s"]}, {"e2e": found["cpu"]})
    found = await session.load(server, "e2e", "--n", tasks)
    return Taken({"e2e": found["tasks_per_s"]}, {"e2e": found["cpu_us_per_op"]})


async def latency(session: Session, entrant: Entrant, server: Ours | Peer) -> Taken:
    await working(session, entrant, server)
    if isinstance(server, Peer) and server.driver:
        found = await session.driven(server, "latency", session.many(QUEUE_PROBES))
    else:
        users = ("--conns", USERS, "--seconds", session.seconds, "--watch", entrant.watches)
        found = await session.load(server, "latency", *users)
    return Taken({"seen_p50": found["p50_ms"], "seen_p99": found["p99_ms"]})


async def working(session: Session, entrant: Entrant, server: Ours | Peer) -> None:
    """With its worker, and warm."""
    if "worker" in server.pids:
        return
    await server.start_worker()
    tasks = session.many(entrant.warm_up_tasks)
    if isinstance(server, Peer) and server.driver:
        await session.driven(server, "run", tasks)
    else:
        await session.load(server, "e2e", "--n", tasks)


async def memory(session: Session, entrant: Entrant, server: Ours | Peer) -> Taken:
    """On a server that has served a few already: what the first ones cost is not what one more costs."""
    few, watchers = session.many(FEW_WATCHERS), session.many(WATCHERS)
    await session.load(server, "fanout", "--subs", few, "--tasks", few, "--seconds", 0.1)
    found = await session.load(server, "fanout", "--subs", watchers, "--tasks", watchers, "--seconds", 0.1)
    return Taken({"memory": found["kb_per_sub"]["server"]})


async def fanout(session: Session, entrant: Entrant, server: Ours | Peer) -> Taken:
    few, watchers = session.many(FEW_WATCHERS), session.many(WATCHERS)
    warm_up = ("--subs", few, "--tasks", 1, "--seconds", FANOUT_WARM_UP_SECONDS * session.scale)
    await session.load(server, "fanout", *warm_up)
    taken = Taken()
    for figure, tasks in (("fanout_one", 1), ("fanout_own", watchers)):
        arguments = ("--subs", watchers, "--tasks", tasks, "--seconds", session.seconds)
        found = await session.load(server, "fanout", *arguments)
        taken.values[figure] = found["msgs_per_s"]
        taken.cpu[figure] = found["cpu_us_per_op"]
    paced = ("--rate", PACED_PER_SECOND, "--subs", watchers, "--tasks", watchers)
    found = await session.load(server, "fanout", *paced, "--seconds", session.seconds)
    taken.values |= {"paced_p50": found["p50_ms"], "paced_p99": found["p99_ms"]}
    return taken


PARTS: dict[str, Callable[[Session, Entrant, Ours | Peer], Awaitable[Taken]]] = {
    "create": create,
    "read": read,
    "e2e": e2e,
    "latency": latency,
    "memory": memory,
    "fanout": fanout,
}
