"""An API that is stopped while hundreds watch: it tells all of them, and is gone in seconds."""

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from taskql.devstack import DevStack
from tests.deployment import Deployment
from tests.subscriber import WATCH

SOCKETS = 200
STREAMS = 50
WITHIN_SECONDS = 90
GOING_AWAY = 1001


async def test_server_that_stops_tells_all_who_watch_and_is_gone(stack: DevStack, tmp_path: Path) -> None:
    async with Deployment(stack, tmp_path) as deployment, AsyncExitStack() as open_clients:
        api = deployment.start_api()
        task_id = await deployment.create_id()  # nobody performs it
        http = await open_clients.enter_async_context(
            httpx.AsyncClient(timeout=WITHIN_SECONDS, limits=httpx.Limits(max_connections=None))
        )
        async with asyncio.timeout(WITHIN_SECONDS):
            sockets = [await open_socket(open_clients, deployment.ws_url, task_id) for _ in range(SOCKETS)]
            streams = [EventStream(http, f"{deployment.url}/graphql", task_id) for _ in range(STREAMS)]
            for stream in streams:
                await stream.watching.wait()

        assert await asyncio.to_thread(api.stop) == 0
        assert "timeout graceful shutdown exceeded" not in api.said

        async with asyncio.timeout(WITHIN_SECONDS):
            endings = await asyncio.gather(*map(ending, sockets))
            said = await asyncio.gather(*(stream.ended for stream in streams))
        assert endings == [GOING_AWAY] * SOCKETS
        assert all("event: complete" not in lines for lines in said)


async def open_socket(clients: AsyncExitStack, ws_url: str, task_id: str) -> ClientConnection:
    """A socket that watches, after its first state."""
    subprotocols = [Subprotocol("graphql-transport-ws")]
    socket = await clients.enter_async_context(connect(ws_url, subprotocols=subprotocols))
    await socket.send('{"type": "connection_init"}')
    await socket.recv()
    payload = {"query": WATCH, "variables": {"id": task_id}}
    await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
    assert json.loads(await socket.recv())["payload"]["data"]["taskStatus"]["status"] == "PENDING"
    return socket


async def ending(socket: ClientConnection) -> int | None:
    """The close code; what the server says before is for nobody."""
    with suppress(ConnectionClosed):
        while True:
            assert json.loads(await socket.recv())["type"] == "ping"
    return socket.close_code


class EventStream:
    """A stream that watches, in the background."""

    def __init__(self, http: httpx.AsyncClient, url: str, task_id: str) -> None:
        self.watching = asyncio.Event()
        self._request = http.stream(
            "POST",
            url,
            json={"query": WATCH, "variables": {"id": task_id}},
            headers={"Accept": "text/event-stream"},
        )
        self.ended: asyncio.Task[list[str]] = asyncio.create_task(self._read())

    async def _read(self) -> list[str]:
        """All its lines, to its end, however that comes."""
        lines: list[str] = []
        try:
            async with self._request as answer:
                async for line in answer.aiter_lines():
                    lines.append(line)
                    if line.startswith("data: {"):
                        self.watching.set()
        except httpx.RemoteProtocolError:  # cut in the middle of a chunk
            pass
        return lines
