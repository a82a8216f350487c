"""SQS is gone for a minute while tasks are created: what that costs, beside the same without an outage."""

import asyncio
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from taskql.devstack import DevStack
from tests.faults.checker import Violation, violations
from tests.faults.crew import Crew
from tests.faults.evidence import End, Request
from tests.faults.nemesis import READY_SECONDS, met
from tests.faults.trial import SETTLE_SECONDS, Stage, gather, stage

CLIENTS = 8


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one round: how long createTask took, and how long the tasks took once SQS was there."""

    create_p50_ms: float
    create_p99_ms: float
    done_seconds: float

    def __str__(self) -> str:
        return (
            f"createTask {self.create_p50_ms:.1f} ms (p50), {self.create_p99_ms:.1f} ms (p99); "
            f"all COMPLETED after {self.done_seconds:.1f} s"
        )


@dataclass(frozen=True, slots=True)
class Outage:
    without: Cost
    during: Cost
    violations: list[Violation]


async def outage(stack: DevStack, folder: Path, tasks: int, seconds: float) -> Outage:
    """One round without an outage, and one with SQS killed for `seconds` from its beginning."""
    requests: list[Request] = []
    async with stage(stack, folder) as here:
        crew = Crew(here.deployment, consumers=2)
        await crew.is_complete()
        began = time.monotonic()
        took = await create(here, requests, tasks)
        without = cost(took, await until_done(here, began))
        gone = time.monotonic()
        stack.sqs.kill()
        took = await create(here, requests, tasks)
        await asyncio.sleep(max(0.0, gone + seconds - time.monotonic()))
        stack.sqs.launch()
        assert await met(stack.sqs.is_ready, READY_SECONDS)
        here.deployment.make_queues()
        during = cost(took, await until_done(here, time.monotonic()))
        await crew.dismiss()
        return Outage(without, during, violations(await gather(here, requests, (), crew.faults)))


async def create(here: Stage, requests: list[Request], tasks: int) -> list[float]:
    """The seconds that each createTask took."""
    took: list[float] = []

    async def client(count: int) -> None:
        for _ in range(count):
            request = Request(f"{len(requests)}", End.SUCCESS)
            requests.append(request)
            began = time.monotonic()
            request.answers.append(await here.deployment.create_id())
            took.append(time.monotonic() - began)

    await asyncio.gather(*(client(tasks // CLIENTS) for _ in range(CLIENTS)))
    return took


async def until_done(here: Stage, since: float) -> float:
    assert await here.settled(SETTLE_SECONDS), "the tasks do not end"
    return time.monotonic() - since


def cost(took: list[float], done_seconds: float) -> Cost:
    in_order = sorted(took)
    p99 = in_order[len(in_order) * 99 // 100]
    return Cost(statistics.median(in_order) * 1000, p99 * 1000, done_seconds)
