"""How uvicorn serves our connections over HTTP, with what we need besides.

Invariant: an answer that comes whole, and says first how long it is, goes out in one write; whatever else an
application sends is written as uvicorn writes it.
"""

import asyncio
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from gql.errors import ErrorCode
from gql.marking import MORE_HEADERS, Headers
from gql.pulse import ABORT
from gql.selection import encode_json

LINGER_SECONDS = 2
MAX_HEAD_BYTES = 64 * 1024
"""Of a request before its body, besides what comes in its first packet."""
FRAMING = {b"connection", b"transfer-encoding"}
"""Headers that say how an answer is to be written."""


class Cycle(RequestResponseCycle):
    """A request and its answer, whose head waits for the body where that comes at once.

    `more` are headers that go with the answer, whoever sends it.
    """

    def __init__(self, protocol: HttpToolsProtocol, keep_alive: bool) -> None:
        super().__init__(
            scope=protocol.scope,
            transport=protocol.transport,
            flow=protocol.flow,
            logger=protocol.logger,
            access_logger=protocol.access_logger,
            access_log=protocol.access_log,
            default_headers=protocol.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=protocol.expect_100_continue,
            keep_alive=keep_alive,
            on_response=protocol.on_response_complete,
        )
        self.more: Headers = []
        self._start: Any = None

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            if self.response_started or not says_length(message):
                await self._send_start()
        elif self._start is None:
            await super().send(message)
        elif not (self._is_plain and self._write(self._start, message)):
            await self._send_start()
            await super().send(message)

    async def _send_start(self) -> None:
        start: Any = {**self._start, "headers": [*self.more, *self._start.get("headers", ())]}
        self._start = None
        await super().send(start)

    @property
    def _is_plain(self) -> bool:
        """Whether nothing about the request makes its answer differ from others."""
        return (
            self.keep_alive
            and not self.disconnected
            and not self.flow.write_paused
            and not self.access_log
            and self.scope["method"] != "HEAD"
        )

    def _write(self, start: Any, message: Any) -> bool:
        """Write the answer, unless there is anything unusual about it."""
        headers, body = start["headers"], message.get("body", b"")
        is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)
        if not is_whole or int(headers[0][1]) != len(body):
            return False
        shared, own = known_lines(tuple(self.default_headers)), lines_of(self.more)
        given = known_lines(tuple(headers))
        if shared is None or own is None or given is None:
            return False
        self.transport.write(b"".join((STATUS_LINE[start["status"]], shared, own, given, b"\r\n", body)))
        self._start, self.waiting_for_100_continue = None, False
        self.response_started = self.response_complete = True
        self.message_event.set()
        self.on_response()
        return True


def says_length(start: Any) -> bool:
    headers = start.get("headers")
    return bool(headers) and headers[0][0] == b"content-length"


def lines_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """As they stand in a head; None where uvicorn would refuse one, or do more than write it."""
    lines = b""
    for name, value in headers:
        if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value) or name.lower() in FRAMING:
            return None
        lines += b"%b: %b\r\n" % (name.lower(), value)
    return lines


known_lines = lru_cache(256)(lines_of)
"""For headers that come together again and again."""


@lru_cache(16)
def place(url: bytes) -> tuple[str, bytes, bytes]:
    """The path of an address, as it is meant and as it was sent, and what stands after the question mark."""
    parsed = httptools.parse_url(url)
    return unquote(parsed.path.decode("ascii")), parsed.path, parsed.query or b""


class HttpProtocol(HttpToolsProtocol):
    """HTTP, with a way to cut a stream. Heads are bounded; what is no HTTP is told so in JSON."""

    _in_head = False
    _head_bytes = 0
    _turned_away = False
    _idle_since: float | None = None
    _answering: RequestResponseCycle | None = None

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

    def on_headers_complete(self) -> None:
        """As uvicorn does it, but for the cycle, which is ours, and for what we never ask it for."""
        self._in_head = False
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        scope["http_version"] = version
        scope["method"] = parser.get_method().decode("ascii")
        if parser.should_upgrade() and self._should_upgrade():
            return
        scope["path"], scope["raw_path"], scope["query_string"] = place(self.url)
        is_alone = self._unanswered is None
        self.cycle = cycle = Cycle(self, keep_alive=version != "1.0" and parser.should_keep_alive())
        scope["extensions"] = {
            ABORT: {"now": self.transport.abort},
            MORE_HEADERS: {"headers": cycle.more},
        }
        if is_alone:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """uvicorn tells only the request that came last, which may still wait for its turn."""
        super().connection_lost(exc)
        super()._unset_keepalive_if_required()
        if (cycle := self._answering) is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    # ------------------------------------------------------------ what is idle

    def on_message_complete(self) -> None:
        super().on_message_complete()
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if cycle is None or not cycle.response_complete:
            return
        if not (self.parser.should_upgrade() and self._should_upgrade()):
            self._rest()  # it has its answer already, so nothing else will say that it is over

    def _unset_keepalive_if_required(self) -> None:
        """The timer stays, and looks for itself whether there is anything to do: to set one takes longer."""
        self._idle_since = None

    def on_response_complete(self) -> None:
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()
            self._rest()

    def _rest(self) -> None:
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return  # the end of what goes on sets it anew
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    # ------------------------------------------------------------ what is no HTTP

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


def error_body(message: str, code: ErrorCode) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": code}}]}
