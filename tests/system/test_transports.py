"""The transports of a running API, as clients and as nobody's clients meet them.

The fixture `api` is a running API with a consumer behind it: `.url` has no path, `.ws_url` is the endpoint.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol
from uuid import UUID

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from tests.deployment import Deployment
from tests.node.script import script
from tests.raw import HANDSHAKE

MISSING = UUID("01940000-0000-7000-8000-00000000dead")
TOO_MANY_BYTES = 1024 * 1024 + 1
STREAM_FIRST = {"Accept": "text/event-stream"}
URQL = "application/graphql-response+json, application/graphql+json, application/json, text/event-stream"

CREATE = """
mutation ($steps: Int!) {
  createTask(input: {title: "watched", work: {countdown: {steps: $steps, stepSeconds: 0.05}}}) {
    task { id } userErrors { message }
  }
}
"""
WATCH = "subscription ($id: ID!) { taskStatus(id: $id) { version status isTerminal } }"


class Api(Protocol):
    url: str
    ws_url: str


@pytest.fixture
async def http(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=api.url, timeout=30) as client:
        yield client


async def create_countdown(http: httpx.AsyncClient, steps: int) -> str:
    answer = await http.post("/graphql", json={"query": CREATE, "variables": {"steps": steps}})
    payload = answer.json()["data"]["createTask"]
    assert payload["userErrors"] == []
    return str(payload["task"]["id"])


def code(answer: httpx.Response) -> str:
    """The error code of an answer that is JSON and holds no data."""
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert not body.get("data")
    return str(body["errors"][0]["extensions"]["code"])


def assert_rising_to_the_end(states: list[dict[str, Any]]) -> None:
    versions = [state["version"] for state in states]
    assert versions == sorted(set(versions))
    assert [state["isTerminal"] for state in states] == [False] * (len(states) - 1) + [True]
    assert states[-1]["status"] == "COMPLETED"


# ---------------------------------------------------------------- HTTP


@pytest.mark.parametrize(
    "body",
    [
        b"5",
        b'"a"',
        b"null",
        b"[]",
        b'[{"query": "{ __typename }"}]',
        b"",
        b"{",
        b'{"query": "\xff"}',
        b'{"query": "{ __typename }", "variables": {"a": NaN}}',
        b'{"query": "{ __typename }", "variables": {"a": ' + b"1" * 5000 + b"}}",
        b"[" * 100_000,
        b'{"query": "{ __typename }", "variables": {"a": ' + b"[" * 500 + b"]" * 500 + b"}}",
        b"{}",
        b'{"query": null}',
        b'{"query": " "}',
        b'{"query": 5}',
        b'{"query": "{ __typename }", "variables": 5}',
        b'{"query": "{ __typename }", "variables": []}',
        b'{"query": "{ __typename }", "operationName": 5}',
        b'{"query": "{ __typename }", "extensions": 5}',
    ],
    ids=lambda body: repr(body[:60]),
)
async def test_body_that_is_no_request_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    answer = await http.post("/graphql", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, code(answer)) == (400, "BAD_USER_INPUT")


async def test_body_that_is_too_large_is_refused(http: httpx.AsyncClient) -> None:
    body = b" " * TOO_MANY_BYTES
    answer = await http.post("/graphql", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, code(answer)) == (413, "TOO_LARGE")


async def test_body_that_is_too_large_is_refused_without_a_content_length(http: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(TOO_MANY_BYTES // 1024 + 1):
            yield b" " * 1024

    answer = await http.post("/graphql", content=chunks(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, code(answer)) == (413, "TOO_LARGE")


async def test_body_of_another_media_type_is_refused(http: httpx.AsyncClient) -> None:
    body = json.dumps({"query": "{ __typename }"})
    answer = await http.post("/graphql", content=body, headers={"Content-Type": "text/plain"})
    assert (answer.status_code, code(answer)) == (415, "BAD_USER_INPUT")


async def test_get_carries_a_query(http: httpx.AsyncClient) -> None:
    query = "query ($yes: Boolean!) { __typename @include(if: $yes) }"
    answer = await http.get("/graphql", params={"query": query, "variables": '{"yes": true}'})
    assert answer.json()["data"] == {"__typename": "Query"}


async def test_get_with_variables_that_are_no_json_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get("/graphql", params={"query": "{ __typename }", "variables": "{"})
    assert (answer.status_code, code(answer)) == (400, "BAD_USER_INPUT")


async def test_get_carries_no_mutation(http: httpx.AsyncClient) -> None:
    answer = await http.get("/graphql", params={"query": "mutation { __typename }"})
    assert (answer.status_code, code(answer)) == (405, "BAD_USER_INPUT")
    assert answer.headers["allow"] == "POST"


async def test_other_methods_are_refused(http: httpx.AsyncClient) -> None:
    answer = await http.put("/graphql", json={"query": "{ __typename }"})
    assert (answer.status_code, code(answer)) == (405, "BAD_USER_INPUT")
    assert answer.headers["allow"] == "GET, POST"


async def test_subscription_without_a_stream_is_told_where_to_go(http: httpx.AsyncClient) -> None:
    answer = await http.post("/graphql", json={"query": WATCH, "variables": {"id": str(MISSING)}})
    assert (answer.status_code, code(answer)) == (400, "BAD_USER_INPUT")
    assert "text/event-stream" in answer.text


async def test_lone_surrogate_in_a_query_does_no_harm(http: httpx.AsyncClient) -> None:
    body = b'{"query": "{ __typename \\ud800 }"}'
    answer = await http.post("/graphql", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code < 500
    assert code(answer) == "BAD_USER_INPUT"


async def test_browser_gets_a_page(http: httpx.AsyncClient) -> None:
    answer = await http.get("/graphql", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


async def test_unknown_path_is_a_json_error(http: httpx.AsyncClient) -> None:
    answer = await http.get("/nowhere")
    assert (answer.status_code, code(answer)) == (404, "NOT_FOUND")


async def test_root_leads_to_graphql(http: httpx.AsyncClient) -> None:
    answer = await http.get("/")
    assert answer.is_redirect
    assert answer.headers["location"] == "/graphql"


async def test_probes_answer(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    ready = await http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json().keys() == {"status", "postgresql", "redis", "sqs", "s3"}
    assert ready.json()["postgresql"] == "ok"


async def test_audit_of_graphql_over_http_finds_nothing(api: Api) -> None:
    async with script("audit.js", api.url) as audit:
        await audit.end()
    assert audit.complaints == ""
    assert [found for found in audit.said if found["status"] != "ok"] == []
    assert len(audit.said) == 61


async def test_every_answer_is_safe_in_a_browser(http: httpx.AsyncClient) -> None:
    for path in ("/graphql", "/nowhere", "/healthz", "/"):
        headers = (await http.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert (
            headers["cross-origin-resource-policy"] == headers["cross-origin-opener-policy"] == "same-origin"
        )


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"no HTTP at all\r\n\r\n", 400),
        (b"GET /graphql?" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET /graphql HTTP/1.1\r\n" + b"x: y\r\n" * 500_000, 431),
        (b"GET /graphql HTTP/1.1\r\nx: " + b"y" * 3_000_000, 431),
    ],
    ids=["nonsense", "address", "headers", "header"],
)
async def test_head_that_is_none_or_never_ends_is_refused_in_json(
    api: Deployment, sent: bytes, status: int
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(sent)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"x-content-type-options: nosniff" in head
    assert json.loads(body)["errors"][0]["extensions"]["code"] in ("BAD_USER_INPUT", "TOO_LARGE")


# ---------------------------------------------------------------- server-sent events


async def sse_events(answer: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """The events of a stream, its comments left out."""
    name = ""
    async for line in answer.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data:"):
            data = line.removeprefix("data:").strip()
            yield name, json.loads(data) if data else None


async def stream(http: httpx.AsyncClient, query: str, **variables: Any) -> list[tuple[str, Any]]:
    body = {"query": query, "variables": variables}
    async with http.stream("POST", "/graphql", json=body, headers=STREAM_FIRST) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [event async for event in sse_events(answer)]


async def test_event_stream_follows_a_task_to_its_end(http: httpx.AsyncClient) -> None:
    *results, last = await stream(http, WATCH, id=await create_countdown(http, steps=3))
    assert last == ("complete", None)
    assert {name for name, _ in results} == {"next"}
    assert_rising_to_the_end([result["data"]["taskStatus"] for _, result in results])


async def test_event_stream_of_a_missing_task_is_one_error(http: httpx.AsyncClient) -> None:
    (name, result), last = await stream(http, WATCH, id=str(MISSING))
    assert (name, last) == ("next", ("complete", None))
    assert result["errors"][0]["extensions"]["code"] == "NOT_FOUND"


async def test_event_stream_carries_a_query(http: httpx.AsyncClient) -> None:
    (name, result), last = await stream(http, "{ __typename }")
    assert (name, result["data"], last) == ("next", {"__typename": "Query"}, ("complete", None))


async def test_event_stream_tells_of_a_faulty_document(http: httpx.AsyncClient) -> None:
    (name, result), last = await stream(http, "{ nowhere }")
    assert (name, last) == ("next", ("complete", None))
    assert result["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_event_source_of_a_browser_subscribes_by_get(http: httpx.AsyncClient) -> None:
    params = {"query": WATCH, "variables": json.dumps({"id": await create_countdown(http, steps=1)})}
    async with http.stream("GET", "/graphql", params=params, headers=STREAM_FIRST) as answer:
        results = [event async for event in sse_events(answer)]
    assert results[-1] == ("complete", None)


@pytest.mark.parametrize(
    "accept",
    [URQL, "*/*", "application/json", "text/event-stream;q=0.5, application/json"],
)
async def test_client_that_wants_json_first_gets_json(http: httpx.AsyncClient, accept: str) -> None:
    answer = await http.post("/graphql", json={"query": "{ __typename }"}, headers={"Accept": accept})
    assert answer.json()["data"] == {"__typename": "Query"}


# ---------------------------------------------------------------- WebSocket


@asynccontextmanager
async def opened(api: Api, **how: Any) -> AsyncIterator[ClientConnection]:
    how = {"subprotocols": [Subprotocol("graphql-transport-ws")], **how}
    async with connect(api.ws_url, **how) as socket:
        yield socket


@asynccontextmanager
async def acknowledged(api: Api) -> AsyncIterator[ClientConnection]:
    async with opened(api) as socket:
        await send(socket, type="connection_init")
        assert await receive(socket) == {"type": "connection_ack"}
        yield socket


async def send(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def subscribe(
    socket: ClientConnection, query: str, variables: dict[str, Any] | None = None, id: str = "1"
) -> None:
    await send(socket, id=id, type="subscribe", payload={"query": query, "variables": variables})


async def receive(socket: ClientConnection) -> Any:
    text = await socket.recv()
    assert isinstance(text, str)
    return json.loads(text)


async def close_code(socket: ClientConnection) -> int:
    """How the server closes the socket, whatever it says before."""
    with suppress(ConnectionClosed):
        async for _ in socket:
            pass
    assert socket.close_code is not None
    return socket.close_code


FRAMES = [
    "5",
    "[]",
    "null",
    "",
    "{",
    "NaN",
    "[" * 10_000,
    b'{"type": "ping"}',
    "{}",
    '{"type": 5}',
    '{"type": "nonsense"}',
    json.dumps({"type": "x" * 1000}),
    '{"type": "start", "id": "1", "payload": {"query": "{ __typename }"}}',
    '{"type": "ping", "payload": null}',
    '{"type": "subscribe"}',
    '{"type": "subscribe", "id": "1"}',
    '{"type": "subscribe", "id": "1", "payload": null}',
    '{"type": "subscribe", "id": "1", "payload": {}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": 5}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "variables": 5}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "operationName": 5}}',
    '{"type": "subscribe", "id": 1, "payload": {"query": "{ __typename }"}}',
    '{"type": "subscribe", "id": "", "payload": {"query": "{ __typename }"}}',
    json.dumps({"type": "subscribe", "id": "x" * 1001, "payload": {"query": "{ __typename }"}}),
    json.dumps(
        {"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "variables": {"a": [{}] * 20_001}}}
    ),
    '{"type": "complete"}',
    '{"type": "complete", "id": []}',
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: repr(frame[:60]))
async def test_frame_that_is_no_message_closes_the_socket(api: Api, frame: str | bytes) -> None:
    async with acknowledged(api) as socket:
        await socket.send(frame)
        assert await close_code(socket) == 4400


@pytest.mark.parametrize("payload", [None, 5, [], "text"])
async def test_init_with_a_payload_that_is_no_object_closes_the_socket(api: Api, payload: Any) -> None:
    async with opened(api) as socket:
        await send(socket, type="connection_init", payload=payload)
        assert await close_code(socket) == 4400


async def test_socket_without_init_is_closed(api: Api) -> None:
    async with opened(api) as socket:
        assert await close_code(socket) == 4408


async def test_second_init_closes_the_socket(api: Api) -> None:
    async with acknowledged(api) as socket:
        await send(socket, type="connection_init")
        assert await close_code(socket) == 4429


async def test_subscribe_before_the_acknowledgement_closes_the_socket(api: Api) -> None:
    async with opened(api) as socket:
        await subscribe(socket, "{ __typename }")
        assert await close_code(socket) == 4401


async def test_id_that_is_in_use_closes_the_socket(api: Api, http: httpx.AsyncClient) -> None:
    task_id = await create_countdown(http, steps=1000)
    async with acknowledged(api) as socket:
        for _ in range(2):
            await subscribe(socket, WATCH, {"id": task_id}, id="same" * 100)
        assert await close_code(socket) == 4409


@pytest.mark.parametrize("subprotocols", [["graphql-ws"], ["nonsense"], None])
async def test_other_subprotocols_are_not_acceptable(api: Api, subprotocols: list[str] | None) -> None:
    async with opened(api, subprotocols=subprotocols) as socket:
        assert await close_code(socket) == 4406


async def test_message_that_is_too_large_closes_the_socket(api: Api) -> None:
    async with acknowledged(api) as socket:
        await socket.send("x" * TOO_MANY_BYTES)
        assert await close_code(socket) == 1009


async def test_ping_is_answered(api: Api) -> None:
    async with opened(api) as socket:
        await send(socket, type="ping", payload={})
        assert await receive(socket) == {"type": "pong"}


async def test_socket_follows_a_task_to_its_end(api: Api, http: httpx.AsyncClient) -> None:
    task_id = await create_countdown(http, steps=3)
    states = []
    async with acknowledged(api) as socket:
        await subscribe(socket, WATCH, {"id": task_id})
        while (message := await receive(socket))["type"] == "next":
            states.append(message["payload"]["data"]["taskStatus"])
    assert message == {"id": "1", "type": "complete"}
    assert_rising_to_the_end(states)


async def test_socket_carries_queries_and_mutations(api: Api) -> None:
    async with acknowledged(api) as socket:
        for operation, root in (("query", "Query"), ("mutation", "Mutation")):
            await subscribe(socket, f"{operation} {{ __typename }}")
            answer = await receive(socket)
            assert (answer["id"], answer["type"]) == ("1", "next")
            assert answer["payload"]["data"] == {"__typename": root}
            assert await receive(socket) == {"id": "1", "type": "complete"}


@pytest.mark.parametrize("query", ["{", "{ nowhere }", "query A { __typename } fragment B on X { y }"])
async def test_faulty_operation_gets_an_error_and_the_socket_lives_on(api: Api, query: str) -> None:
    async with acknowledged(api) as socket:
        await subscribe(socket, query)
        message = await receive(socket)
        assert (message["type"], message["id"]) == ("error", "1")
        assert message["payload"][0]["extensions"]["code"] == "BAD_USER_INPUT"
        await subscribe(socket, "{ __typename }")
        assert (await receive(socket))["type"] == "next"


async def test_socket_without_an_origin_is_welcome(api: Api) -> None:
    async with opened(api) as socket:
        assert socket.subprotocol == "graphql-transport-ws"


def friendly_origins(api: Api) -> Iterator[str]:
    yield api.url
    yield "http://localhost:5173"
    yield "http://[::1]:3000"


async def test_pages_of_this_machine_may_open_a_socket(api: Api) -> None:
    for origin in friendly_origins(api):
        async with opened(api, origin=Origin(origin)) as socket:
            assert socket.subprotocol == "graphql-transport-ws"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://localhost.evil.example", "null", "http://[", ""]
)
async def test_pages_from_elsewhere_may_open_no_socket(api: Api, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with opened(api, additional_headers={"Origin": origin}):
            pass
    assert refused.value.response.status_code == 403


async def test_name_that_somebody_has_lead_here_opens_no_socket(api: Deployment) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(HANDSHAKE.replace(b"127.0.0.1", b"evil.example"))
    assert (await reader.readline()).startswith(b"HTTP/1.1 403 ")
    writer.close()
