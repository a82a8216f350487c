"""How uvicorn serves our connections: what it is told, and the two protocols with what we need besides.

Both offer the ASGI extension `taskql.abort`, by which a connection is cut that takes nothing more: closing it
would wait for what it has not taken.
"""

import socket
import sys
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from gql.errors import ErrorCode
from gql.marking import MORE_HEADERS
from gql.pulse import ABORT, STUCK_SECONDS
from gql.selection import encode_json
from taskql.settings import Settings

DRAIN_SECONDS = 8
SEND_BUFFER_BYTES = 64 * 1024
"""Of the kernel, for each connection: it doubles this. What is in there is out of our hands."""
WRITE_BUFFER_BYTES = 16 * 1024
"""Of the process, for each socket; beyond, newer states take the place of older ones."""

LINGER_SECONDS = 2
MAX_HEAD_BYTES = 64 * 1024
"""Of a request before its body, besides what comes in its first packet."""
HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
]
"""Of every answer, put together once: no page frames us, embeds what we answer or guesses its type."""


class HttpProtocol(HttpToolsProtocol):
    """HTTP, with a way to cut a stream. Heads are bounded; what is no HTTP is told so in JSON."""

    _in_head = False
    _head_bytes = 0
    _turned_away = False

    def data_received(self, data: bytes) -> None:
        if self._turned_away:
            return
        was_in_head = self._in_head
        super().data_received(data)
        if was_in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                message = f"The headers are larger than {MAX_HEAD_BYTES} bytes; send less."
                self._turn_away(431, message, ErrorCode.TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self.scope["extensions"] = {ABORT: {"now": self.transport.abort}}

    def on_headers_complete(self) -> None:
        self._in_head = False
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # else it becomes a WebSocket
            more = self.cycle.default_headers = [*self.server_state.default_headers]
            self.scope["extensions"][MORE_HEADERS] = {"headers": more}

    @property
    def _unanswered(self) -> RequestResponseCycle | None:
        """The request that came last, unless it has all of its answer."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return None if cycle is None or cycle.response_complete else cycle

    def send_400_response(self, msg: str) -> None:
        self._turn_away(400, msg, ErrorCode.BAD_USER_INPUT)

    def _turn_away(self, status: int, message: str, code: ErrorCode) -> None:
        """Answer, and let the client go on for a moment: most hear nothing while they send."""
        self._turned_away = True
        if cycle := self._unanswered:
            if self.pipeline or cycle.response_started or not cycle.more_body:
                self.transport.close()  # another answer is under way, with which ours would be mixed up
                return
            cycle.disconnected = True
            cycle.message_event.set()
        body = encode_json(error_body(message, code)).encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        lines = [b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode())]
        lines += [name + b": " + value for name, value in headers]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)


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

    def start_keepalive(self) -> None:
        """The handshake is over, and nobody will ask what it said: that would take some KiB a socket."""
        super().start_keepalive()
        del self.request, self.response
        self.scope["headers"] = []


def is_utf_8(pieces: Sequence[bytes]) -> bool:
    try:
        b"".join(pieces).decode()
    except UnicodeDecodeError:
        return False
    return True


def error_body(message: str, code: ErrorCode) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}


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
