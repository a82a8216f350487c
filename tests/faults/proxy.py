"""A proxy before SQS: it notes what was delivered and acknowledged, and falls ill on demand."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import httpx

from tests.faults.evidence import Delivery

REPEATS = 8
LONGEST_DELAY_SECONDS = 2.5
UPSTREAM_SECONDS = 30.0
HOP_HEADERS = {"host", "connection", "content-length", "transfer-encoding"}
REFUSAL = (
    b'{"__type": "com.amazonaws.sqs#ServiceUnavailable", "message": "the proxy was told to say so"}',
    b"Content-Type: application/x-amz-json-1.0",
)


class Ailment(Enum):
    """How it can be ill. Most requests suffer, not all: a service is seldom gone to the same degree."""

    ERRORS = "answers 500 and 503"
    SLOW = "takes up to 2.5 s"
    CUT = "does what it is asked, and hangs up instead of answering"
    REPEATS = "sends every message eight times"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def action(self) -> str:
        return self.headers.get("x-amz-target", "").rpartition(".")[2]


class Proxy:
    """One upstream, and its well-being."""

    def __init__(self, upstream: str, rng: random.Random) -> None:
        self.deliveries: list[Delivery] = []
        self.url = ""
        self._upstream = upstream
        self._rng = rng
        self._ailment: Ailment | None = None
        self._by_receipt: dict[str, Delivery] = {}
        self._connections: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        self._client = httpx.AsyncClient(timeout=UPSTREAM_SECONDS, limits=httpx.Limits(max_connections=None))
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await self._client.aclose()

    @contextmanager
    def ill(self, ailment: Ailment) -> Iterator[None]:
        self._ailment = ailment
        try:
            yield
        finally:
            self._ailment = None

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Known from its first moment, and closed even if it is cancelled before it has begun."""
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        connection.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await read_request(reader):
                answer = await self._answer(request)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client is gone, killed most likely

    async def _answer(self, request: HttpRequest) -> bytes | None:
        """What the client gets; None: the connection ends without an answer."""
        arrived = datetime.now(UTC)
        if request.action.startswith("DeleteMessage"):
            self._note_acknowledgement(request, arrived)
        match self._ailment:
            case Ailment.ERRORS if self._rng.random() < 0.8:
                body, kind = REFUSAL
                return response(self._rng.choice((500, 503)), body, kind)
            case Ailment.SLOW:
                await asyncio.sleep(self._rng.uniform(0, LONGEST_DELAY_SECONDS))
            case Ailment.REPEATS if request.action.startswith("SendMessage"):
                for _ in range(REPEATS - 1):
                    await self._forward(request)
            case Ailment.CUT if self._rng.random() < 0.6:
                await self._forward(request)
                return None
        answer = await self._forward(request)
        if answer is None:
            return None
        if request.action == "ReceiveMessage":
            self._note_deliveries(answer)
        kind = answer.headers.get("content-type", "application/x-amz-json-1.0")
        return response(answer.status_code, answer.content, f"Content-Type: {kind}".encode())

    async def _forward(self, request: HttpRequest) -> httpx.Response | None:
        headers = {name: value for name, value in request.headers.items() if name not in HOP_HEADERS}
        try:
            return await self._client.request(
                request.method, f"{self._upstream}{request.path}", headers=headers, content=request.body
            )
        except httpx.TransportError:
            return None  # it is down

    def _note_deliveries(self, answer: httpx.Response) -> None:
        found: dict[str, Any] = answer.json() if answer.content else {}
        for message in found.get("Messages", []):
            try:
                task_id = str(json.loads(message["Body"])["task_id"])
            except (ValueError, KeyError, TypeError):
                continue  # not ours
            delivery = Delivery(task_id, datetime.now(UTC))
            self.deliveries.append(delivery)
            self._by_receipt[message["ReceiptHandle"]] = delivery

    def _note_acknowledgement(self, request: HttpRequest, at: datetime) -> None:
        body = json.loads(request.body)
        for entry in body.get("Entries", [body]):
            delivery = self._by_receipt.get(entry["ReceiptHandle"])
            if delivery is not None and delivery.acknowledged_at is None:
                delivery.acknowledged_at = at


async def read_request(reader: asyncio.StreamReader) -> HttpRequest | None:
    """The next request of a connection; None once the client has closed it."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.splitlines()
    method, path, _ = first.split(" ", 2)
    named = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in named}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return HttpRequest(method, path, headers, body)


def response(status: int, body: bytes, *headers: bytes) -> bytes:
    lines = (f"HTTP/1.1 {status} As told".encode(), *headers, f"Content-Length: {len(body)}".encode())
    return b"\r\n".join((*lines, b"", body))
