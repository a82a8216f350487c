"""How uvicorn serves our connections: what it is told, and the two protocols with what we need besides.

Both offer the ASGI extension `taskql.abort`, by which a connection is cut that takes nothing more: closing it
would wait for what it has not taken.
"""

import socket
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gql.pulse import ABORT, STUCK_SECONDS
from gql.request import MAX_REQUEST_BYTES
from taskql.settings import Settings

DRAIN_SECONDS = 8
SEND_BUFFER_BYTES = 64 * 1024
"""Of the kernel, for each connection: it doubles this. What is in there is out of our hands."""
WRITE_BUFFER_BYTES = 16 * 1024
"""Of the process, for each socket; beyond, newer states take the place of older ones."""


class HttpProtocol(HttpToolsProtocol):
    """HTTP, with a way to cut a stream."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"now": self.transport.abort}}


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSockets, with a way to cut one, and without what only their handshake needs."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):  # else the handshake has failed
            extensions = self.scope["extensions"]
            assert extensions is not None
            extensions[ABORT] = {"now": self.transport.abort}

    def start_keepalive(self) -> None:
        """The handshake is over, and nobody will ask what it said: that would take some KiB a socket."""
        super().start_keepalive()
        del self.request, self.response
        self.scope["headers"] = []


def config_of(app: Any, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=MAX_REQUEST_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=None,  # our own pings go through the protocol, which clients see and answer too
        lifespan="on",
        log_config=None,
        log_level="debug" if settings.log_level == "debug" else "warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def bound_buffers(listener: socket.socket) -> None:
    """Let the kernel drop clients that take nothing, and keep little for them; connections inherit this."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if sys.platform == "linux":
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STUCK_SECONDS * 1000))
