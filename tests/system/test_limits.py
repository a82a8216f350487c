"""Limits of a real API process: who may connect, through which proxy, how often, and what comes at start."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from taskql.devstack import DevStack
from tests.deployment import QUICK, START_SECONDS, Deployment, free_port

BURST = 20
SETTINGS = {
    **QUICK,
    "TASKQL_MAX_CONNECTIONS": "3",
    "TASKQL_MAX_CONNECTIONS_PER_ADDRESS": "2",
    "TASKQL_TRUSTED_PROXIES": "127.0.0.1",
    "TASKQL_RATE_LIMIT": "0.001",
    "TASKQL_RATE_BURST": str(BURST),
    "TASKQL_INTROSPECTION": "off",
    "TASKQL_MAX_REQUEST_BYTES": "2000",
}
KINDS = {"query": "{kinds {name}}"}
WATCH = {"query": "subscription {taskUpdates {id}}"}
WITHIN_SECONDS = 30


@pytest.fixture(scope="module")
async def deployment(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with Deployment(stack, tmp_path_factory.mktemp("limits"), SETTINGS) as deployment:
        deployment.start_api()
        yield deployment


@pytest.fixture
async def http(deployment: Deployment) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=deployment.url, timeout=30) as client:
        yield client


async def opened(deployment: Deployment, address: str) -> ClientConnection:
    """A socket that a proxy passes on."""
    return await connect(
        deployment.ws_url,
        subprotocols=[Subprotocol("graphql-transport-ws")],
        additional_headers={"X-Forwarded-For": address},
        open_timeout=WITHIN_SECONDS,
    )


async def refusal(deployment: Deployment, address: str) -> tuple[int, str]:
    """The status and the code with which a handshake is refused."""
    with pytest.raises(InvalidStatus) as refused:
        await opened(deployment, address)
    response = refused.value.response
    return response.status_code, code(json.loads(response.body))


def code(body: Any) -> str:
    return str(body["errors"][0]["extensions"]["code"])


async def test_connections_are_counted_by_address_and_in_all_until_they_are_gone(
    deployment: Deployment, http: httpx.AsyncClient
) -> None:
    async with asyncio.timeout(WITHIN_SECONDS), AsyncExitStack() as stack:
        one, other = [await opened(deployment, "192.0.2.1") for _ in range(2)]
        assert await refusal(deployment, "192.0.2.1") == (429, "RATE_LIMITED")
        for wanted in (other, await opened(deployment, "192.0.2.2")):
            stack.push_async_callback(wanted.close)
        assert await refusal(deployment, "192.0.2.3") == (503, "UNAVAILABLE")
        stream = await http.post("/graphql", json=WATCH, headers={"Accept": "text/event-stream"})
        assert (stream.status_code, code(stream.json())) == (503, "UNAVAILABLE")

        one.transport.abort()
        while True:
            try:
                stack.push_async_callback((await opened(deployment, "192.0.2.1")).close)
                break
            except InvalidStatus:
                continue


async def test_introspection_is_off_and_a_large_body_is_refused(http: httpx.AsyncClient) -> None:
    answer = (await http.post("/graphql", json={"query": "{__schema {types {name}}}"})).json()
    assert code(answer) == "BAD_USER_INPUT"
    assert "introspection has been disabled" in answer["errors"][0]["message"]
    answer = await http.post("/graphql", json={"query": "{kinds {name}}" + " " * 2_000})
    assert (answer.status_code, code(answer.json())) == (413, "TOO_LARGE")


async def test_an_owner_who_asks_too_often_is_told_when_to_come_again(http: httpx.AsyncClient) -> None:
    while (answer := await http.post("/graphql", json=KINDS)).status_code == 200:
        assert answer.headers["ratelimit-policy"] == f'"owner";q={BURST};w={BURST * 1000}'
        assert answer.headers["ratelimit"].startswith('"owner";r=')
    assert (answer.status_code, code(answer.json())) == (429, "RATE_LIMITED")
    assert 0 < answer.json()["errors"][0]["extensions"]["retryAfter"] <= 1000
    assert 0 < int(answer.headers["retry-after"]) <= 1000


async def test_a_trusted_document_that_can_not_run_refuses_the_start(
    deployment: Deployment, tmp_path: Path
) -> None:
    (tmp_path / "wrong.graphql").write_text("{nothing}")
    deployment.env |= {"TASKQL_TRUSTED_DOCUMENTS": str(tmp_path), "PORT": str(free_port())}
    api = deployment.launch("gql")
    assert await asyncio.to_thread(api.wait, START_SECONDS) == 1
    assert "TASKQL_TRUSTED_DOCUMENTS: wrong.graphql, line 1: Cannot query field 'nothing'" in api.said
