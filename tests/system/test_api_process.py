"""`python -m gql` as a process: how it starts, refuses to, and stops."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from taskql.devstack import DevStack
from tests.deployment import ROOT, START_SECONDS, Deployment, free_port

WATCH = "subscription ($id: ID!) { taskStatus(id: $id) { version } }"


def run_to_its_end(
    deployment: Deployment, *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gql", *arguments],
        cwd=ROOT,
        env={**os.environ, **deployment.env, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_stopping_api_sends_its_watchers_elsewhere(
    stack: DevStack, tmp_path: Path, number: signal.Signals
) -> None:
    async with Deployment(stack, tmp_path) as deployment:
        process = deployment.start_api()
        task_id = await deployment.create_id()  # stays PENDING: nobody consumes
        watch = {"query": WATCH, "variables": {"id": task_id}}

        async with (
            httpx.AsyncClient(base_url=deployment.url, timeout=30) as http,
            http.stream("POST", "/graphql", json=watch, headers={"Accept": "text/event-stream"}) as stream,
            connect(deployment.ws_url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket,
        ):
            lines = stream.aiter_lines()
            assert await anext(lines) == "event: next"
            await socket.send('{"type": "connection_init"}')
            await socket.recv()
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": watch}))
            assert json.loads(await socket.recv())["type"] == "next"

            process.signal(number)

            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 1001
            assert "event: complete" not in [line async for line in lines]

        assert process.wait() == 0
        assert "Traceback" not in process.said


def test_taken_port_is_named(api: Deployment) -> None:
    refused = run_to_its_end(api)
    assert refused.returncode == 1
    assert f":{api.port}: Address already in use. Set PORT" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_handler_module_that_is_missing_is_named(api: Deployment) -> None:
    refused = run_to_its_end(api, TASK_HANDLERS="no_such_module", PORT=str(free_port()))
    assert refused.returncode == 1
    assert "no_such_module" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_schema_is_printed_without_services(api: Deployment) -> None:
    printed = run_to_its_end(api, "--print-schema", DATABASE_URL="postgresql://nowhere.invalid/x")
    assert printed.returncode == 0
    assert "type Subscription" in printed.stdout
