"""The clients as docs/clients.md shows them: each follows a task to its end through a restart.

They run in Node, from tests/node.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from taskql.devstack import DevStack
from tests.deployment import Deployment, Process, poll
from tests.documents import blocks
from tests.node.script import COMPLETE, FOLDER, WITHIN_SECONDS, Script, script

PAGE = "docs/clients.md"
COUNTDOWN = {"countdown": {"steps": 16, "stepSeconds": 0.5}}
CLIENTS = ["graphql-ws", "graphql-sse", "urql", "apollo-ws", "apollo-sse"]
FLEET = 200


@pytest.fixture(scope="module", params=[signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def transcripts(
    request: pytest.FixtureRequest, stack: DevStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, Script]]:
    """What each client has said, all of them having watched one task whose server died meanwhile."""
    death: signal.Signals = request.param
    async with (
        Deployment(stack, tmp_path_factory.mktemp("restarted")) as deployment,
        AsyncExitStack() as running,
    ):
        api = deployment.start_api()
        task_id = await deployment.create_id(work=COUNTDOWN)
        clients = {
            name: await running.enter_async_context(script(f"{name}.js", deployment.url, task_id))
            for name in CLIENTS
        }
        await all_said(clients, waits)
        if death == signal.SIGKILL:
            # Once more, before: they find nobody for a while, and then nothing that they don't know already.
            api.kill()
            await turn_away(deployment.port, len(CLIENTS))
            api = await asyncio.to_thread(deployment.start_api)
            await asyncio.to_thread(poll, partial(serves, api, len(CLIENTS)), WITHIN_SECONDS)
        deployment.start_consumers()
        await all_said(clients, shows_progress)

        api.signal(death)
        assert api.wait() == (0 if death == signal.SIGTERM else -death)
        await asyncio.to_thread(deployment.start_api)

        await asyncio.gather(*(client.end() for client in clients.values()))
        yield clients


@pytest.mark.parametrize("name", CLIENTS)
def test_client_follows_its_task_to_the_end_through_a_restart(
    transcripts: dict[str, Script], name: str
) -> None:
    client = transcripts[name]
    assert client.complaints == ""
    *states, last = client.said
    assert_followed_to_the_end(states)
    assert last == COMPLETE


async def test_fleet_of_clients_moves_to_the_next_server_and_misses_nothing(
    stack: DevStack, tmp_path: Path
) -> None:
    async with Deployment(stack, tmp_path) as deployment:
        api = deployment.start_api()
        task_id = await deployment.create_id(work=COUNTDOWN)
        async with script("fleet.js", deployment.url, task_id, FLEET) as fleet:
            await fleet.until(lambda said: len({line["client"] for line in said}) == FLEET)
            deployment.start_consumers()
            await fleet.until(lambda said: sum(shows_progress(line["state"]) for line in said) >= FLEET)

            api.signal(signal.SIGTERM)
            assert api.wait() == 0
            await asyncio.to_thread(deployment.start_api)
            await fleet.end()

        assert fleet.complaints == ""
        for number in range(FLEET):
            *states, last = [line for line in fleet.said if line["client"] == number]
            assert last == {"client": number, "complete": True}
            assert_followed_to_the_end([line["state"] for line in states])


def test_page_shows_the_very_scripts() -> None:
    shown = [block.text for block in blocks(PAGE) if block.language == "js"]
    scripts = [FOLDER / f"{name}.js" for name in ("watch", *CLIENTS)]
    assert sorted(shown) == sorted(path.read_text() for path in scripts)


async def test_page_s_query_finds_what_has_changed_since_it_was_asked_last(api: Deployment) -> None:
    [query] = [block.text for block in blocks(PAGE) if block.language == "graphql"]
    before = (await api.graphql(query, since="2020-01-01T00:00:00Z"))["tasks"]["asOf"]
    task_id = await api.create_id()
    tasks = (await api.graphql(query, since=before))["tasks"]
    assert task_id in [task["id"] for task in tasks["nodes"]]
    assert datetime.fromisoformat(tasks["asOf"]) >= datetime.fromisoformat(before)


def waits(state: Any) -> bool:
    return bool(state["status"] == "PENDING")


def shows_progress(state: Any) -> bool:
    return state["progress"] is not None


def assert_followed_to_the_end(states: list[Any]) -> None:
    """Through its stations, each version once."""
    assert all(earlier["version"] < later["version"] for earlier, later in pairwise(states)), states
    assert states[0]["status"] == "PENDING"
    assert any(state["status"] == "PROCESSING" for state in states)
    assert [state["status"] for state in states if state["isTerminal"]] == ["COMPLETED"]
    assert states[-1]["isTerminal"]


async def all_said(clients: dict[str, Script], wanted: Callable[[Any], bool]) -> None:
    await asyncio.gather(
        *(
            client.until(lambda said: any(isinstance(line, dict) and wanted(line) for line in said))
            for client in clients.values()
        )
    )


def serves(api: Process, count: int) -> bool:
    """Whether so many clients have a connection."""
    connections = psutil.Process(api.pid).net_connections(kind="tcp")
    listening = {each.laddr for each in connections if each.status == psutil.CONN_LISTEN}
    return sum(each.laddr in listening and bool(each.raddr) for each in connections) >= count


async def turn_away(port: int, count: int) -> None:
    """Hang up on so many connections: clients that try again find a port, and nobody who answers."""
    came = 0
    enough = asyncio.Event()

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal came
        came += 1
        writer.transport.abort()
        if came >= count:
            enough.set()

    async with asyncio.timeout(WITHIN_SECONDS), await asyncio.start_server(hang_up, "127.0.0.1", port):
        await enough.wait()
