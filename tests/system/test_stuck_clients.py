"""Clients that subscribe and never read: they cost little, hold up nobody, and are dropped."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from taskql.devstack import DevStack
from tests.deployment import QUICK, Deployment, Process, poll
from tests.raw import stuck_socket, stuck_stream
from tests.subscriber import subscriber

pytestmark = pytest.mark.long

STUCK = 5
"""Over each transport."""
COPIES = 40
DESCRIPTION = "x" * 10_000
"""In each state as often as there are copies: 400 kB."""
COUNTDOWN = {"countdown": {"steps": 30, "stepSeconds": 0.5}}
LARGE = f"""
subscription Large($id: ID!) {{
  taskStatus(id: $id) {{
    status version isTerminal
    {" ".join(f"copy{number}: description" for number in range(COPIES))}
  }}
}}
"""
RUNNING = 3
"""States before somebody gets stuck: it waited, it began, it went on."""
MEANWHILE = 5
GROWTH_BYTES = 64 * 2**20
"""Less than what all states for all of them would take: 100 MB."""
WITHIN_SECONDS = 120


@pytest.fixture
async def deployment(stack: DevStack, tmp_path: Path) -> AsyncIterator[Deployment]:
    async with Deployment(stack, tmp_path, QUICK) as deployment:
        yield deployment


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as closing:
        yield closing


async def test_clients_that_never_read_hold_up_nobody_and_are_dropped(
    deployment: Deployment, closing: ExitStack
) -> None:
    api = deployment.start_api()
    task_id = await deployment.create_id(description=DESCRIPTION, work=COUNTDOWN)
    states: list[Any] = []
    async with asyncio.timeout(WITHIN_SECONDS), subscriber(deployment.ws_url) as reader:
        results = reader.results(LARGE, id=task_id)
        deployment.start_consumers()
        await read(results, states, RUNNING)
        resident = psutil.Process(api.pid).memory_info().rss
        ports = set()
        for connect in (stuck_socket, stuck_stream) * STUCK:
            client = await asyncio.to_thread(connect, deployment, LARGE, id=task_id)
            ports.add(closing.enter_context(client).getsockname()[1])

        await read(results, states, MEANWHILE)
        assert connected(api, ports), "who reads had to wait until the stuck ones were dropped"
        states += [result["data"]["taskStatus"] async for result in results]

    assert psutil.Process(api.pid).memory_info().rss - resident < GROWTH_BYTES
    assert all(earlier["version"] < later["version"] for earlier, later in pairwise(states))
    assert states[-1]["status"] == "COMPLETED"
    await asyncio.to_thread(poll, lambda: not connected(api, ports), WITHIN_SECONDS)
    assert api.stop() == 0


async def read(results: AsyncIterator[Any], states: list[Any], count: int) -> None:
    """So many states more."""
    for _ in range(count):
        states.append((await anext(results))["data"]["taskStatus"])


def connected(api: Process, ports: set[int]) -> set[int]:
    """To which of the clients' ports the API still has a connection."""
    connections = psutil.Process(api.pid).net_connections(kind="tcp")
    return ports.intersection(each.raddr[1] for each in connections if each.status != psutil.CONN_LISTEN)
