"""The processes that are asked, and whether they are as they were once all has been asked.

One API without authentication, one with, on the same database and queues, and a consumer. Tasks of every end
are there before.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from redis import Redis

from taskql.devstack import DevStack
from tests.deployment import QUICK, START_SECONDS, Deployment, Process, free_port, is_ready, poll
from tests.generated.answers import Finding
from tests.generated.campaign import Campaign
from tests.generated.doors import Door
from tests.inside import WITHIN_SECONDS, Inside
from tests.subscriber import subscriber
from tests.system import census
from tests.tokens import SECRET

SETTINGS = {
    **QUICK,
    "TASK_HANDLERS": census.__name__,
    "JWT_SECRET": SECRET,
    "TASKQL_CORS_ORIGINS": "https://app.example.com",
}
GROWTH_BYTES = 32 * 2**20
"""What 10,000 cases may leave behind: documents and headers that are remembered, the allocator's rest."""
SPARE_DESCRIPTORS = 10
"""Connections to the services, of which there are as many as were needed at the same time."""
IDLE_TASKS = 40
"""A process that nobody asks anything has some twenty."""
WORK = [
    {"compute": {"numbers": [1, 2]}},
    {"transform": {"text": "a b"}},
    {"compute": {"numbers": [1e308, 1e308]}},
]

CANCEL = "mutation Cancel($id: ID!) { cancelTask(input: {id: $id}) { task { id } } }"


@asynccontextmanager
async def stage(stack: DevStack, folder: Path) -> AsyncIterator[Campaign]:
    """All of it, up and ready."""
    async with Deployment(stack, folder, SETTINGS) as deployment:
        doors = [Door(auth, free_port()) for auth in ("jwt", "none")]
        apis = [launch(deployment, door) for door in doors]  # ordinary clients use the last one
        deployment.start_consumers()
        for door, api in zip(doors, apis, strict=True):
            poll(partial(is_open, door, api), START_SECONDS)
            assert api.alive, api.said
        known = await tasks_of_every_end(deployment)
        yield Campaign(doors, deployment.processes[:], known)
        await still_serves(deployment)


def launch(deployment: Deployment, door: Door) -> Process:
    deployment.env |= {"AUTH": door.auth, "PORT": str(door.port)}
    deployment.port, deployment.url = door.port, f"http://127.0.0.1:{door.port}"
    deployment.ws_url = f"ws://127.0.0.1:{door.port}/graphql"
    return deployment.launch("gql")


def is_open(door: Door, api: Process) -> bool:
    return is_ready(f"http://127.0.0.1:{door.port}") or not api.alive


async def tasks_of_every_end(deployment: Deployment) -> list[str]:
    """The ids of tasks: completed ones, one that failed, one that is cancelled, one that waits."""
    ended = [await deployment.create_id(work=work, tags=["a", "b"], orderingKey="k") for work in WORK]
    later = [await deployment.create_id(runAt="2999-01-01T00:00:00Z", tags=["a"]) for _ in range(2)]
    await deployment.graphql(CANCEL, id=later[0])
    for id in ended:
        await watched_to_its_end(deployment, id)
    return [*ended, *later]


async def watched_to_its_end(deployment: Deployment, id: str) -> str:
    async with asyncio.timeout(WITHIN_SECONDS), subscriber(deployment.ws_url) as client:
        return str((await client.states(id))[-1]["status"])


async def still_serves(deployment: Deployment) -> None:
    """An ordinary task is created, watched and done, once what was generated is out of its way."""
    deployment.kill_consumers()
    await deployment.forget_everything()
    deployment.start_consumers()
    id = await deployment.create_id("Afterwards", work={"compute": {"numbers": [1, 2]}})
    assert await watched_to_its_end(deployment, id) == "COMPLETED"


class Belongings:
    """What the API processes hold. It is taken once they have warmed up, and compared with in the end."""

    def __init__(self, campaign: Campaign, redis: Redis) -> None:
        self._insides = [Inside(api, redis) for api in campaign.processes[:2]]
        for inside in self._insides:
            self._settle(inside)
        self._before = [(inside.descriptors, inside.resident_bytes) for inside in self._insides]

    def check(self) -> list[str]:
        """How much more they hold now, in words. Raises Finding where that is too much."""
        told = []
        for inside, (descriptors, resident) in zip(self._insides, self._before, strict=True):
            self._settle(inside)
            poll(partial(has_at_most, inside, descriptors + SPARE_DESCRIPTORS), WITHIN_SECONDS)
            grown = inside.resident_bytes - resident
            told.append(f"{grown / 2**20:+.1f} MiB, {inside.descriptors - descriptors:+} descriptors")
            if grown > GROWTH_BYTES:
                raise Finding(f"an API process has grown: {told[-1]}")
        return told

    def _settle(self, inside: Inside) -> None:
        """Until nothing of what was asked goes on."""
        poll(lambda: inside.asyncio_tasks <= IDLE_TASKS, WITHIN_SECONDS)


def has_at_most(inside: Inside, descriptors: int) -> bool:
    return inside.descriptors <= descriptors
