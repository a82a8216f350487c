"""A deployment of TaskQL as its clients meet it: over HTTP, server-sent events and WebSocket.

Invariant: whatever goes wrong on the way is an `Unusable` whose message says where and what to do.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from taskql.errors import TaskQLError

CONNECT_SECONDS = 5.0
ENDPOINT = "/graphql"
PROTOCOL = Subprotocol("graphql-transport-ws")
UNAUTHORIZED = (401, 403)

Json = Any


class Unusable(TaskQLError):
    """The deployment can't be reached, or does not answer as TaskQL does."""


class Client:
    """Requests to the deployment at `url`, given with or without /graphql. Close it with `async with`."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.base = base_of(url)
        authorization = {"authorization": f"Bearer {token}"} if token else {}
        self._init = {"type": "connection_init", **({"payload": authorization} if token else {})}
        self._http = httpx.AsyncClient(
            headers=authorization, timeout=httpx.Timeout(None, connect=CONNECT_SECONDS)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def probe(self, path: str) -> tuple[int, Mapping[str, Json]]:
        """Status and JSON of one of the probes' endpoints."""
        async with self._answer("GET", path) as answer:
            return answer.status_code, json_object(answer, await answer.aread())

    async def ask(self, document: str, **variables: Json) -> Json:
        """The data of a query or a mutation."""
        body = {"query": document, "variables": variables}
        async with self._answer("POST", ENDPOINT, json=body) as answer:
            return data_of(json_object(answer, await answer.aread()))

    async def stream(self, document: str, **variables: Json) -> AsyncIterator[Json]:
        """The data of each result of a subscription, as server-sent events, until it is complete."""
        body = {"query": document, "variables": variables}
        headers = {"Accept": "text/event-stream"}
        async with self._answer("POST", ENDPOINT, json=body, headers=headers) as answer:
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                raise Unusable(f"{answer.url} sent no event stream, but {account(answer)}.")
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    yield data_of(json.loads(line.removeprefix("data: ")))
                elif line.startswith("event: complete"):
                    return
        raise Unusable("The event stream ended too early: does a proxy in between cut long answers?")

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[ClientConnection]:
        """A WebSocket that is ready for operations."""
        url = f"ws{self.base.removeprefix('http')}{ENDPOINT}"
        try:
            async with connect(url, subprotocols=[PROTOCOL], open_timeout=CONNECT_SECONDS) as socket:
                await socket.send(json.dumps(self._init))
                greeting = json.loads(await socket.recv())
                if socket.subprotocol != PROTOCOL or greeting.get("type") != "connection_ack":
                    raise Unusable(f"What answers at {url} does not speak {PROTOCOL}.")
                yield socket
        except InvalidStatus as error:
            raise Unusable(f"{blocked(url)} It answered {error.response.status_code}.") from error
        except ConnectionClosed as error:
            raise Unusable(f"The WebSocket at {url} was closed: {error}.") from error
        except (InvalidHandshake, WebSocketException, ValueError) as error:
            raise Unusable(f"{blocked(url)} {error}") from error
        except OSError as error:  # a TimeoutError is one
            raise Unusable(f"{blocked(url)} {str(error) or 'It did not answer.'}") from error

    async def watch(self, document: str, **variables: Json) -> AsyncIterator[Json]:
        """The data of each result of a subscription, over a WebSocket of its own, until it is complete."""
        payload = {"query": document, "variables": variables}
        async with self.socket() as socket:
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
            async for text in socket:
                match json.loads(text):
                    case {"type": "next", "payload": result}:
                        yield data_of(result)
                    case {"type": "error", "payload": errors}:
                        raise Unusable(told(errors))
                    case {"type": "complete"}:
                        return
                    case {"type": "ping"}:
                        await socket.send('{"type": "pong"}')
        raise Unusable(
            "The WebSocket was closed before its end: does a proxy in between cut long connections?"
        )

    @asynccontextmanager
    async def _answer(self, method: str, path: str, **request: Json) -> AsyncIterator[httpx.Response]:
        url = f"{self.base}{path}"
        try:
            async with self._http.stream(method, url, **request) as answer:
                if answer.status_code in UNAUTHORIZED:
                    raise Unusable(f"{url} lets only those in whom it knows: pass --token.")
                yield answer
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise Unusable(
                f"{url} can't be reached ({reason}): is the address right, and the API up?"
            ) from error


def base_of(url: str) -> str:
    """What comes before /graphql. Raises Unusable unless it is a URL of the web."""
    if not is_web_url(url):
        raise Unusable(f"{url!r} is no URL of a deployment; it looks like http://localhost:8000.")
    return urlsplit(url)._replace(query="", fragment="").geturl().rstrip("/").removesuffix(ENDPOINT)


def is_web_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def json_object(answer: httpx.Response, body: bytes) -> dict[str, Json]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unusable(f"What answers at {answer.url} is not TaskQL: it sent {account(answer)}.")
    return found


def account(answer: httpx.Response) -> str:
    kind = answer.headers.get("content-type", "something without a type")
    return f"{kind} with status {answer.status_code}"


def data_of(result: Mapping[str, Json]) -> Json:
    """The data of a GraphQL result. Raises Unusable where it has errors, or is none."""
    if errors := result.get("errors"):
        raise Unusable(told(errors))
    if not isinstance(result.get("data"), dict):
        raise Unusable("The answer is no GraphQL result: something else than TaskQL answers.")
    return result["data"]


def told(errors: Json) -> str:
    """The messages of GraphQL errors."""
    try:
        return "; ".join(f"the API answered: {error['message']}" for error in errors)
    except (TypeError, KeyError):
        return "the API answered with errors that are not GraphQL's"


def blocked(url: str) -> str:
    return f"No WebSocket at {url}: does a proxy in between pass on `Upgrade: websocket`?"
