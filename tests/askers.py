"""One owner's requests over each transport: whatever is answered, as texts, to the end."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol, cast

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.deployment import Deployment

TIMEOUT_SECONDS = 60
MAX_BYTES = 16 * 1024 * 1024


class Asker(Protocol):
    """Asks as one owner, over one transport."""

    def answers(self, query: str, variables: Mapping[str, Any]) -> AsyncIterator[str]:
        """What is answered, one text for each message."""
        ...


class Http:
    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self._url = url
        self._client = client

    async def answers(self, query: str, variables: Mapping[str, Any]) -> AsyncIterator[str]:
        answer = await self._client.post(self._url, json={"query": query, "variables": variables})
        yield f"{answer.status_code} {answer.text}"


class Events:
    """Server-sent events."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self._url = url
        self._client = client

    async def answers(self, query: str, variables: Mapping[str, Any]) -> AsyncIterator[str]:
        body = {"query": query, "variables": variables}
        headers = {"Accept": "text/event-stream"}
        async with self._client.stream("POST", self._url, json=body, headers=headers) as answer:
            if not answer.headers["content-type"].startswith("text/event-stream"):
                yield f"{answer.status_code} {(await answer.aread()).decode()}"
                return
            async for line in answer.aiter_lines():
                if line.startswith(("data: ", "event: ")):
                    yield line


class Socket:
    """A WebSocket on which many operations run at a time."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._heard: dict[str, asyncio.Queue[Any]] = {}

    async def answers(self, query: str, variables: Mapping[str, Any]) -> AsyncIterator[str]:
        number = str(next(self._numbers))
        heard = self._heard[number] = asyncio.Queue()
        payload = {"query": query, "variables": variables}
        await self._socket.send(json.dumps({"id": number, "type": "subscribe", "payload": payload}))
        while True:
            message = await heard.get()
            del message["id"]
            yield json.dumps(message)
            if message["type"] != "next":
                return

    async def read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if message["type"] == "ping":
                await self._socket.send('{"type": "pong"}')
            else:
                self._heard[message["id"]].put_nowait(message)


@asynccontextmanager
async def askers(deployment: Deployment, bearer: str) -> AsyncIterator[dict[str, Asker]]:
    """By the transport's name, for whoever bears the token."""
    url, headers = f"{deployment.url}/graphql", {"Authorization": f"Bearer {bearer}"}
    async with AsyncExitStack() as stack:
        limits = httpx.Limits(max_connections=None)
        client = await stack.enter_async_context(
            httpx.AsyncClient(headers=headers, timeout=TIMEOUT_SECONDS, limits=limits)
        )
        protocols = [Subprotocol("graphql-transport-ws")]
        opened = await stack.enter_async_context(
            connect(
                deployment.ws_url,
                subprotocols=protocols,
                additional_headers=headers,
                max_size=MAX_BYTES,
            )
        )
        await opened.send('{"type": "connection_init"}')
        assert json.loads(cast(str, await opened.recv())) == {"type": "connection_ack"}
        socket = Socket(opened)
        reading = asyncio.create_task(socket.read())
        stack.callback(reading.cancel)
        yield {"HTTP": Http(url, client), "events": Events(url, client), "socket": socket}
