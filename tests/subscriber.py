"""A client of subscriptions over graphql-transport-ws, as the protocol has it, for tests."""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

WATCH = """
subscription Watch($id: ID!, $afterVersion: Int) {
  taskStatus(id: $id, afterVersion: $afterVersion) {
    id status version attempt isTerminal
    progress { fraction message }
    failure { code message retryable }
    result {
      __typename
      ... on ProcessResult { message }
      ... on ComputeResult { count sum average max min }
      ... on TransformResult { uppercase lowercase wordCount charCount }
      ... on ReverseResult { outputData }
      ... on CountdownResult { steps }
    }
  }
}
"""


class Subscriber:
    """One socket after its handshake; one subscription at a time."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = map(str, itertools.count(1))

    async def results(self, query: str, **variables: Any) -> AsyncIterator[Any]:
        """The results of an operation until the server completes it. Raises OperationError on `error`."""
        operation = next(self._ids)
        await self._say(id=operation, type="subscribe", payload={"query": query, "variables": variables})
        while True:
            message = await self._hear()
            match message["type"]:
                case "next":
                    yield message["payload"]
                case "complete":
                    return
                case "error":
                    raise OperationError(message["payload"])
                case "ping":
                    await self._say(type="pong")
                case other:
                    raise AssertionError(f"unexpected {other}: {message}")

    async def states(self, task_id: str, after_version: int | None = None) -> list[Any]:
        """Every state of a task that the server shows, to the end."""
        return [
            result["data"]["taskStatus"]
            async for result in self.results(WATCH, id=task_id, afterVersion=after_version)
        ]

    async def _say(self, **message: Any) -> None:
        await self._socket.send(json.dumps(message))

    async def _hear(self) -> Any:
        return json.loads(cast(str, await self._socket.recv()))


class OperationError(Exception):
    """The server's `error` message."""


@asynccontextmanager
async def subscriber(ws_url: str) -> AsyncIterator[Subscriber]:
    async with connect(
        ws_url, subprotocols=[Subprotocol("graphql-transport-ws")], open_timeout=60, max_size=None
    ) as socket:
        await socket.send('{"type": "connection_init"}')
        assert json.loads(await socket.recv()) == {"type": "connection_ack"}
        yield Subscriber(socket)
