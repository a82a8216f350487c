"""A WebSocket as our server serves it, on a transport that the test plays."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.uri import parse_uri

from gql.outgoing import SendNow, send_now_of
from gql.serving import WebSocketProtocol, whole_frame


class Transport(asyncio.Transport):
    """Keeps what is written; says of itself what the test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.waiting = 0
        self.closing = False

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Served:
    """An open socket: the server's end, and a client who reads what was written."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.client = ClientProtocol(parse_uri("ws://localhost/"))
        self.send_now: SendNow | None = None
        self.open = asyncio.Event()
        self.over = asyncio.Event()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self.send, self.send_now = send, send_now_of(scope)
        self.open.set()
        await self.over.wait()

    def heard(self) -> list[str]:
        """The texts since the last time."""
        self.client.receive_data(self.transport.written)
        self.transport.written = b""
        return [
            bytes(event.data).decode()
            for event in self.client.events_received()
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT
        ]

    def offer(self, text: str) -> bool:
        assert self.send_now is not None
        return self.send_now({"type": "websocket.send", "text": text})


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    socket = Served()
    config = uvicorn.Config(
        socket.app, interface="asgi3", ws_per_message_deflate=False, ws_ping_interval=None, log_config=None
    )
    config.load()
    protocol = WebSocketProtocol(config, ServerState(), {})
    protocol.connection_made(socket.transport)
    socket.client.send_request(socket.client.connect())
    protocol.data_received(b"".join(socket.client.data_to_send()))
    await socket.open.wait()
    socket.heard()
    try:
        yield socket
    finally:
        socket.over.set()
        await asyncio.gather(*protocol.tasks)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 100_000])
def test_a_text_of_any_size_is_the_frame_that_websockets_would_make(size: int) -> None:
    data = base64.b64encode(bytes(size))[:size]
    assert whole_frame(data) == Frame(Opcode.TEXT, data).serialize(mask=False)


async def test_texts_sent_now_and_the_usual_way_come_in_order() -> None:
    async with served() as socket:
        assert socket.offer("one")
        await socket.send({"type": "websocket.send", "text": "two ✓"})
        assert socket.offer("three" * 50)
        assert socket.heard() == ["one", "two ✓", "three" * 50]


async def test_a_text_that_would_have_to_wait_is_not_sent_now() -> None:
    async with served() as socket:
        socket.transport.waiting = 1
        assert not socket.offer("one")
        assert socket.heard() == []
        socket.transport.waiting = 0
        assert socket.offer("two")
        assert socket.heard() == ["two"]


async def test_nothing_is_sent_now_to_a_socket_that_closes() -> None:
    async with served() as socket:
        assert socket.send_now is not None
        last = {"type": "websocket.close", "code": 1001}
        assert not socket.send_now(last)
        await socket.send(last)
        assert not socket.offer("too late")
        assert socket.heard() == []
        assert socket.client.close_rcvd == Close(1001, "")


async def test_nothing_is_sent_now_to_a_client_that_has_gone() -> None:
    async with served() as socket:
        socket.transport.close()
        assert not socket.offer("too late")
        assert socket.heard() == []
