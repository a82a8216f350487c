"""The protocol of HTTP beside uvicorn's own: the same bytes for the same requests and applications."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gql.http import HttpProtocol
from gql.marking import MORE_HEADERS

BODY = b'{"data":{}}'
LENGTH = (b"content-length", b"11")
TYPE = (b"Content-Type", b"application/json")
GET = b"GET /graphql?a=%20b HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /%67raphql HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
CLOSING = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
REQUESTS = {
    "a GET": GET,
    "a POST": POST,
    "a HEAD": b"HEAD" + GET[3:],
    "the last one": CLOSING,
    "an old one": GET.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "one that waits to be asked on": POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"),
    "chunks": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "two in a row": GET + POST,
    "two, the first the last": CLOSING + POST,
}

Step = dict[str, Any] | type[Exception]


def start(*headers: tuple[bytes, bytes], status: int = 200) -> Step:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes = BODY, *, more: bool = False) -> Step:
    return {"type": "http.response.body", "body": data, "more_body": more}


APPLICATIONS: dict[str, list[Step]] = {
    "a whole answer": [start(LENGTH, TYPE), body()],
    "an answer whose length comes later": [start(TYPE, LENGTH), body()],
    "an error": [start(LENGTH, TYPE, status=503), body()],
    "a status of nobody's": [start(LENGTH, status=599), body()],
    "an empty answer": [start((b"content-length", b"0")), {"type": "http.response.body"}],
    "an answer in two parts": [start(LENGTH), body(BODY[:5], more=True), body(BODY[5:])],
    "a stream": [start(TYPE), body(more=True), body(b"", more=True), body(b"")],
    "no headers": [{"type": "http.response.start", "status": 204}, body(b"")],
    "the end of the connection": [start(LENGTH, (b"Connection", b"close")), body()],
    "a framing of its own": [start(LENGTH, (b"Transfer-Encoding", b"chunked")), body()],
    "too short": [start(LENGTH), body(b"{}")],
    "too long": [start(LENGTH), body(BODY + b" ")],
    "a header in two lines": [start(LENGTH, (b"x", b"a\r\nb: c")), body()],
    "a header without a name": [start(LENGTH, (b"x y", b"a")), body()],
    "a fault in the middle": [start(TYPE), body(more=True), RuntimeError],
    "a fault at once": [RuntimeError],
    "nothing": [],
    "more than an answer": [start(LENGTH), body(), body()],
}


class Wire(asyncio.Transport):
    """A transport that remembers what is written, and when it is closed."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 8000), "peername": ("127.0.0.1", 5000)})
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def performing(steps: list[Step]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        for step in steps:
            if isinstance(step, type):
                raise step
            await send(step)

    return app


@asynccontextmanager
async def connected(
    kind: type[HttpToolsProtocol], app: ASGIApp, keep_alive: int = 60
) -> AsyncIterator[tuple[HttpToolsProtocol, Wire, Callable[[], Awaitable[None]]]]:
    """A connection, what is written over it, and a way to wait until nothing goes on."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_keep_alive=keep_alive
    )
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"today"), (b"x-frame-options", b"DENY")]
    protocol, wire = kind(config, state, {}), Wire()

    async def settled() -> None:
        while state.tasks:
            await asyncio.gather(*state.tasks)

    protocol.connection_made(wire)
    try:
        yield protocol, wire, settled
    finally:
        await settled()
        protocol.connection_lost(None)


async def heard(kind: type[HttpToolsProtocol], sent: bytes, app: ASGIApp) -> tuple[list[bytes], bool]:
    async with connected(kind, app) as (protocol, wire, settled):
        protocol.data_received(sent)
        await settled()
        return wire.written, wire.closed


@pytest.mark.parametrize("steps", APPLICATIONS.values(), ids=APPLICATIONS)
@pytest.mark.parametrize("sent", REQUESTS.values(), ids=REQUESTS)
async def test_what_is_written_is_what_uvicorn_writes(sent: bytes, steps: list[Step]) -> None:
    ours, theirs = [await heard(kind, sent, performing(steps)) for kind in (HttpProtocol, HttpToolsProtocol)]
    assert (b"".join(ours[0]), ours[1]) == (b"".join(theirs[0]), theirs[1])


async def test_a_whole_answer_is_one_write() -> None:
    written, _ = await heard(HttpProtocol, GET, performing(APPLICATIONS["a whole answer"]))
    assert len(written) == 1


async def test_a_stream_begins_before_there_is_anything_in_it() -> None:
    async with connected(HttpProtocol, performing([start(TYPE)])) as (protocol, wire, settled):
        protocol.data_received(GET)
        await settled()
        assert wire.written[0].startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("headers", [[LENGTH, TYPE], [TYPE, LENGTH]], ids=["one write", "two"])
async def test_headers_of_the_request_go_with_its_answer_whoever_sends_it(
    headers: list[tuple[bytes, bytes]],
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"][MORE_HEADERS]["headers"].append((b"x-request-id", b"mine"))
        await performing([start(*headers), body()])(scope, receive, send)

    for _ in range(2):
        written, _ = await heard(HttpProtocol, GET, app)
        assert b"".join(written).count(b"x-request-id: mine\r\n") == 1


async def test_an_address_is_read_as_uvicorn_reads_it() -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        shown = {name: value for name, value in scope.items() if name not in ("extensions", "state")}
        seen.append(shown)
        await performing([start(LENGTH), body()])(scope, receive, send)

    for sent in REQUESTS.values():
        await heard(HttpProtocol, sent, app)
        ours = seen.copy()
        seen.clear()
        await heard(HttpToolsProtocol, sent, app)
        assert ours == seen
        seen.clear()


async def test_a_client_that_takes_nothing_is_waited_for() -> None:
    async with connected(HttpProtocol, performing(APPLICATIONS["a whole answer"])) as (
        protocol,
        wire,
        settled,
    ):
        protocol.pause_writing()
        protocol.data_received(GET)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not wire.written
        protocol.resume_writing()
        await settled()
        assert b"".join(wire.written).endswith(BODY)


async def test_a_connection_that_is_idle_for_long_is_closed() -> None:
    app = performing(APPLICATIONS["a whole answer"])
    async with connected(HttpProtocol, app, keep_alive=0) as (protocol, wire, settled):
        protocol.data_received(GET)
        await settled()
        while not wire.closed:
            await asyncio.sleep(0)


async def test_a_connection_that_is_used_stays_open_and_needs_one_timer() -> None:
    async with connected(HttpProtocol, performing(APPLICATIONS["a whole answer"])) as (
        protocol,
        wire,
        settled,
    ):
        timers = set()
        for _ in range(3):
            protocol.data_received(GET)
            await settled()
            timers.add(protocol.timeout_keep_alive_task)
        protocol.timeout_keep_alive_handler()
        assert len(timers) == 1
        assert not wire.closed
        timer = protocol.timeout_keep_alive_task
        assert timer is not None
        assert timer.when() > asyncio.get_running_loop().time() + 50


@pytest.mark.parametrize("sent", [b"GET / HT", POST[:-1]], ids=["in its head", "in its body"])
async def test_a_connection_is_not_idle_while_a_request_comes_in(sent: bytes) -> None:
    async with connected(HttpProtocol, performing(APPLICATIONS["a whole answer"])) as (
        protocol,
        wire,
        settled,
    ):
        protocol.data_received(GET)
        await settled()
        protocol.data_received(sent)
        protocol.timeout_keep_alive = 0
        protocol.timeout_keep_alive_handler()
        assert not wire.closed
        protocol.connection_lost(None)
        await settled()


async def test_a_request_that_is_answered_before_it_has_all_come_leaves_its_connection_idle() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        for step in APPLICATIONS["an error"]:
            assert isinstance(step, dict)
            await send(step)

    async with connected(HttpProtocol, refuse) as (protocol, wire, settled):
        protocol.data_received(POST[:-1])
        await settled()
        protocol.data_received(POST[-1:])
        assert protocol.timeout_keep_alive_task is not None
        protocol.timeout_keep_alive = 0
        protocol.timeout_keep_alive_handler()
        assert wire.closed


async def test_whoever_is_served_hears_that_the_client_has_gone_though_another_request_waits() -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        told.append(scope["path"])

    async with connected(HttpProtocol, app) as (protocol, *_):
        protocol.data_received(GET + POST)
        protocol.connection_lost(None)
        for _ in range(5):
            await asyncio.sleep(0)
        for task in list(protocol.tasks):
            task.cancel()
    assert told == ["/graphql"]
