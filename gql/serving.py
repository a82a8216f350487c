"""How uvicorn serves our connections: what it is told, and the two protocols with what we need besides.

Both offer the ASGI extension `taskql.abort`, by which a connection is cut that takes nothing more: closing it
would wait for what it has not taken. WebSockets offer `taskql.send_now` besides, since `send` costs as much
as all else that is done for a text.
"""

import socket
import sys
from collections.abc import Sequence
from http import HTTPStatus
from struct import pack
from typing import Any

import uvicorn
from starlette.types import Message
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from gql.errors import ErrorCode
from gql.http import HttpProtocol, error_body
from gql.outgoing import SEND_NOW
from gql.pulse import ABORT, STUCK_SECONDS
from gql.selection import encode_json
from taskql.settings import Settings

DRAIN_SECONDS = 8
SEND_BUFFER_BYTES = 64 * 1024
"""Of the kernel, for each connection: it doubles this. What is in there is out of our hands."""
WRITE_BUFFER_BYTES = 16 * 1024
"""Of the process, for each socket; beyond, newer states take the place of older ones."""

TEXT_AND_LAST = 0x81
"""How the frame of a text begins that is all in it."""

HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
]
"""Of every answer, put together once: no page frames us, embeds what we answer or guesses its type."""


class Handshake(ServerProtocol):
    """The protocol of WebSockets; what is no handshake is told so in JSON."""

    def reject(self, status: HTTPStatus | int, text: str) -> Response:
        code = REJECTIONS.get(status, ErrorCode.BAD_USER_INPUT)
        message = " ".join(text.split()) or HTTPStatus(status).phrase
        response = super().reject(status, encode_json(error_body(message, code)))
        del response.headers["Content-Type"]
        response.headers.update([*HEADERS, ("Content-Type", "application/json; charset=utf-8")])
        return response


REJECTIONS = {
    403: ErrorCode.FORBIDDEN,
    414: ErrorCode.TOO_LARGE,
    431: ErrorCode.TOO_LARGE,
    500: ErrorCode.INTERNAL,
}


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSockets, with a way to cut one, and without what only their handshake needs.

    Frames that break the rules end a socket like a client that has gone: nothing of it is an error of ours.
    """

    def __init__(self, config: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self.conn = Handshake(max_size=config.ws_max_size, logger=self.conn.logger)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated and self.conn.handshake_exc and not self.close_sent:
            self._refuse_handshake()

    def _refuse_handshake(self) -> None:
        """Answer a head that WebSockets can't have, though HTTP can: uvicorn would say nothing at all."""
        if not (refusal := b"".join(self.conn.data_to_send())):
            self.conn.send_response(self.conn.reject(400, "The head is no handshake of a WebSocket."))
            refusal = b"".join(self.conn.data_to_send())
        self.transport.write(refusal)
        self.close_sent = True
        self.transport.close()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not self.close_sent and not is_utf_8(self.frames):
            self.frames = []
            if self.conn.state is State.OPEN:  # the client may have closed in what came with it
                self.conn.send_close(CloseCode.INVALID_DATA)
            self.handle_parser_exception()
        else:
            super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        self.disconnected = True  # else what is still sent would be taken for a mistake of the app

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if hasattr(self, "scope"):  # else the handshake has failed
            extensions = self.scope["extensions"]
            assert extensions is not None
            extensions[ABORT] = {"now": self.transport.abort}
            extensions[SEND_NOW] = {"send": self.send_now}

    def send_now(self, message: Message) -> bool:
        """Send a text that need not wait; what has to wait, and all else, is for `send`."""
        transport = self.transport
        if (
            message["type"] != "websocket.send"
            or self.close_sent
            or transport.is_closing()
            or transport.get_write_buffer_size()
        ):
            return False
        transport.write(whole_frame(message["text"].encode()))
        return True

    def start_keepalive(self) -> None:
        """The handshake is over, and nobody will ask what it said: that would take some KiB a socket."""
        super().start_keepalive()
        self.request.headers.clear()  # the parser keeps the request
        del self.request, self.response
        self.scope["headers"] = []


def whole_frame(data: bytes) -> bytes:
    """A text as one frame, without compression, which we don't offer."""
    size = len(data)
    if size < 126:
        return bytes((TEXT_AND_LAST, size)) + data
    if size < 1 << 16:
        return pack("!BBH", TEXT_AND_LAST, 126, size) + data
    return pack("!BBQ", TEXT_AND_LAST, 127, size) + data


def is_utf_8(pieces: Sequence[bytes]) -> bool:
    try:
        b"".join(pieces).decode()
    except UnicodeDecodeError:
        return False
    return True


def config_of(app: Any, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=settings.taskql_max_request_bytes,
        ws_per_message_deflate=False,
        ws_ping_interval=None,  # our own pings go through the protocol, which clients see and answer too
        lifespan="on",
        log_config=None,
        log_level="warning",  # its debugging repeats what goes over sockets
        access_log=False,
        proxy_headers=settings.taskql_trusted_proxies is not None,
        forwarded_allow_ips=settings.taskql_trusted_proxies,
        server_header=False,
        headers=HEADERS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


def bound_buffers(listener: socket.socket) -> None:
    """Let the kernel drop clients that take nothing, and keep little for them; connections inherit this."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if sys.platform == "linux":
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STUCK_SECONDS * 1000))
