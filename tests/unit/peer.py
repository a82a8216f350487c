"""The client's end of a WebSocket or an event stream at an endpoint, without a server between."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp, Message

from gql.protocol import SUBPROTOCOL
from tests.unit.stage import until


class Peer:
    """What a client sends and has received."""

    def __init__(self) -> None:
        self.received: list[Message] = []
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()

    async def receive(self) -> Message:
        return await self._inbox.get()

    async def send(self, message: Message) -> None:
        self.received.append(message)

    def put(self, message: Message) -> None:
        self._inbox.put_nowait(message)

    def say(self, **message: Any) -> None:
        self.put({"type": "websocket.receive", "text": json.dumps(message)})

    def subscribe(self, id: str, query: str, **more: Any) -> None:
        self.say(id=id, type="subscribe", payload={"query": query, **more})

    @property
    def heard(self) -> list[Any]:
        return [json.loads(message["text"]) for message in self.received if "text" in message]

    @property
    def is_answered(self) -> bool:
        return any(message["type"].endswith(("accept", "response.start")) for message in self.received)

    @property
    def status(self) -> int:
        return int(self.received[0]["status"])

    @property
    def errors(self) -> list[Any]:
        """Of an answer in place of what was wanted."""
        return list(json.loads(self.received[1]["body"])["errors"])

    async def answer_to(self, id: str) -> Any:
        """The payload of the first message about an operation."""
        await until(lambda: any(message.get("id") == id for message in self.heard))
        return next(message.get("payload") for message in self.heard if message.get("id") == id)


@asynccontextmanager
async def socket(app: ASGIApp, address: str = "192.0.2.1") -> AsyncIterator[Peer]:
    """A WebSocket that has begun, or was refused; at the end its client is gone without a word."""
    peer = Peer()
    scope = {"type": "websocket", "headers": [], "subprotocols": [SUBPROTOCOL], "client": (address, 1)}
    peer.put({"type": "websocket.connect"})
    peer.say(type="connection_init")
    async with served(app, scope, peer, {"type": "websocket.disconnect"}):
        yield peer


@asynccontextmanager
async def stream(app: ASGIApp, query: str, address: str = "192.0.2.1") -> AsyncIterator[Peer]:
    """An event stream that has begun, or was refused."""
    peer = Peer()
    body = json.dumps({"query": query}).encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [(b"accept", b"text/event-stream"), (b"content-type", b"application/json")],
        "client": (address, 1),
    }
    peer.put({"type": "http.request", "body": body})
    async with served(app, scope, peer, {"type": "http.disconnect"}):
        yield peer


@asynccontextmanager
async def served(
    app: ASGIApp, scope: Mapping[str, Any], peer: Peer, farewell: Message
) -> AsyncIterator[None]:
    serving = asyncio.ensure_future(app({**scope, "extensions": {}}, peer.receive, peer.send))
    try:
        await until(lambda: peer.is_answered)
        yield
    finally:
        peer.put(farewell)
        await serving
