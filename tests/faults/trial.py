"""One trial: a deployment of its own, a workload, a nemesis, and the evidence of it all."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from taskql.devstack import DevStack
from tests.deployment import QUICK, ROOT, Deployment
from tests.faults import failpoints, kinds, mutants
from tests.faults.checker import Violation, violations
from tests.faults.crew import NAME, Crew
from tests.faults.crowd import Crowd
from tests.faults.evidence import Effect, Evidence, Request, View
from tests.faults.history import History, connected
from tests.faults.nemesis import Nemesis
from tests.faults.proxy import Proxy
from tests.faults.queues import Queues
from tests.faults.reading import claims, histories
from tests.faults.workload import Workload

LOOK_SECONDS = 0.1
SETTLE_SECONDS = 240.0
"""Patience, not a promise: a machine that is busy with other things may need it."""
CONSUMERS, APIS = (2, 3), 2
"""The consumers take turns with the seeds."""
NONE: Mapping[str, str] = {}

T = TypeVar("T")


def alone(folder: Path, run: Callable[[DevStack, Path], Coroutine[Any, Any, T]]) -> T:
    """Run it in this thread, with services and an event loop of its own, in `folder`, which is empty.

    Both end with it, whatever becomes of it: nothing of it goes on. And threads can do so beside each other,
    since what blocks one loop (the start of a server, a migration) holds up no other run's proxy.
    """
    with DevStack(data=folder / "stack", say=lambda _: None) as stack:
        return asyncio.run(run(stack, folder))


@dataclass(frozen=True, slots=True)
class Report:
    """What a trial came to."""

    seed: int
    seconds: float
    faults: Counter[str]
    statuses: Counter[str]
    asked: int
    """The tasks that were asked for."""
    tasks: int
    """Those that are stored."""
    attempts: int
    watchers: int
    ways: Counter[str]
    """How often what is promised besides came to pass."""
    violations: list[Violation]

    def violated(self, *rules: str) -> int:
        return len({each.task_id for each in self.violations if each.rule in rules})


class Stage:
    """A deployment behind a proxy, with its effects, its history and its failpoints."""

    def __init__(self, deployment: Deployment, proxy: Proxy, history: History, folder: Path) -> None:
        self.deployment = deployment
        self.proxy = proxy
        self.history = history
        self.armory = folder
        self.queues = Queues(deployment)
        self._effects = folder / "effects"

    def effects(self) -> list[Effect]:
        lines = self._effects.read_text().splitlines() if self._effects.exists() else []
        return [Effect(task, int(attempt), token) for task, attempt, token in map(str.split, lines)]

    async def settled(self, seconds: float) -> bool:
        """Wait until all is done; whether it was in time.

        The queue is looked at first: what is still in it may yet become a dead letter.
        """
        until = time.monotonic() + seconds
        while not (await asyncio.to_thread(self.queues.is_empty) and await self.history.is_settled()):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True


@asynccontextmanager
async def stage(
    stack: DevStack, folder: Path, seed: int = 0, settings: Mapping[str, str] = NONE
) -> AsyncIterator[Stage]:
    """Nothing runs yet but the services; `folder` is there and empty."""
    proxy = Proxy(stack.env["AWS_ENDPOINT_URL"], random.Random(f"{seed} proxy"))
    async with proxy.serving():
        ours = {
            NAME: uuid4().hex,
            kinds.EFFECTS: str(folder / "effects"),
            failpoints.FOLDER: str(folder),
            "TASKQL_CONCURRENCY": "20",
            "TASK_HANDLERS": "tests.faults.kinds",
            "TASKQL_FAULTS_ROOT": str(ROOT),
            "PYTHONPATH": str(ROOT / "tests" / "faults" / "site"),
            "AWS_ENDPOINT_URL": proxy.url,
        }
        async with (
            Deployment(stack, folder, {**QUICK, **ours, **settings}) as deployment,
            connected(deployment) as history,
        ):
            await history.install()
            yield Stage(deployment, proxy, history, folder)


async def gather(
    stage: Stage, requests: Sequence[Request], views: Sequence[View], faults: Sequence[str] = ()
) -> Evidence:
    """What was seen from all sides; `faults`: what was wrong with processes."""
    history = stage.history
    return Evidence(
        requests=requests,
        changes=await history.changes(),
        stored=await history.stored(),
        keys=await history.keys(),
        follow_ups=await history.follow_ups(),
        dispatched=await history.dispatched(),
        effects=stage.effects(),
        letters=await history.letters(),
        dead_messages=await asyncio.to_thread(stage.queues.dead_messages),
        views=views,
        deliveries=stage.proxy.deliveries,
        processes=faults,
    )


async def trial(
    stack: DevStack, folder: Path, seed: int, tasks: int, seconds: float, mutant: str | None = None
) -> Report:
    """`tasks` tasks under a nemesis that rages for `seconds`; then all is healed and the promises checked."""
    began = time.monotonic()
    async with stage(stack, folder, seed, {mutants.MUTANT: mutant} if mutant else {}) as here:
        crew = Crew(here.deployment, CONSUMERS[seed % 2], APIS)
        await crew.is_complete()
        rng = random.Random(f"{seed} workload")
        workload = Workload(here.deployment, crew.addresses, tasks, seconds, rng)
        nemesis = Nemesis(stack, here.deployment, crew, here.proxy, here.armory, seed)
        crowd = Crowd(crew.addresses, workload.requests, seconds, random.Random(f"{seed} crowd"))
        async with crew.kept_up(), crowd.following():
            give_up = time.monotonic() + seconds + SETTLE_SECONDS
            async with asyncio.TaskGroup() as together:
                together.create_task(workload.run(give_up))
                together.create_task(crowd.run(give_up))
                together.create_task(nemesis.rage(seconds))
            async with connected(here.deployment) as history:
                here.history = history  # the old connection has not survived
                await here.settled(SETTLE_SECONDS)
                await crowd.knows(await history.stored())
        await crew.dismiss()
        async with connected(here.deployment) as history:
            here.history = history
            evidence = replace(
                await gather(
                    here,
                    workload.requests,
                    workload.views + crowd.views,
                    crew.faults + workload.errors + crowd.errors,
                ),
                followings=crowd.followings,
                batches=workload.batches,
                asks=workload.asks,
                garbage=workload.garbage,
                queue_lost_at=nemesis.queue_lost_at,
                dead_letters_lost_at=nemesis.dead_letters_lost_at,
            )
    return Report(
        seed=seed,
        seconds=time.monotonic() - began,
        faults=nemesis.faults,
        statuses=Counter(status for _, status in evidence.stored.values()),
        asked=len(evidence.requests),
        tasks=len(evidence.stored),
        attempts=sum(changes[-1].attempt for changes in histories(evidence).values()),
        watchers=len(evidence.views) + len(evidence.followings),
        ways=ways_taken(evidence),
        violations=violations(evidence),
    )


def ways_taken(evidence: Evidence) -> Counter[str]:
    """What the rules had to say something about; without it, their silence would mean little."""
    ordered = [each for each in histories(evidence).values() if each[0].ordering_number is not None]
    return Counter(
        {
            "ordered tasks": sum(request.ordering_key is not None for request in evidence.requests),
            "attempts in order": sum(1 for changes in ordered for _ in claims(changes)),
            "runAt": sum(request.run_at is not None for request in evidence.requests),
            "expiresAt": sum(request.expires_at is not None for request in evidence.requests),
            "EXPIRED": sum(
                (change.status, change.failure_code) == ("FAILED", "EXPIRED") for change in evidence.changes
            ),
            "refused, too late": sum(request.refused for request in evidence.requests),
            "keys used again": sum(len(request.answers) > 1 for request in evidence.requests),
            "batches": len(evidence.batches),
            "follow-ups": len(evidence.follow_ups),
        }
    )
