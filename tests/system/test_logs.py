"""What the processes log at LOG_LEVEL=debug: whose each line is, and nothing that is anybody's own."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from taskql.devstack import DevStack
from tests.deployment import QUICK, Deployment, Process, poll
from tests.subscriber import WATCH
from tests.tokens import token

MARK = "marked4711"
"""Part of all that must not be logged."""
SECRET = f"{MARK}-a-secret-of-more-than-thirty-two-bytes"
BEARER = token(SECRET)
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACED = {"Traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01", "X-Request-Id": "from-the-test"}
CREATE = """mutation Create($input: CreateTaskInput!) {
  createTask(input: $input) { task { id } userErrors { code message } } }"""
CREATE_MANY = """mutation Many($tasks: [CreateTaskInput!]!) {
  createTasks(input: {tasks: $tasks}) { results { task { id } userErrors { code } } } }"""
SSE = {"Accept": "text/event-stream"}
END_SECONDS = 60.0


@pytest.fixture(scope="module")
async def marked(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """An API and a consumer that log JSON, with marked secrets among their settings."""
    settings = {
        **QUICK,
        "AUTH": "jwt",
        "JWT_SECRET": SECRET,
        "LOG_LEVEL": "debug",
        "TASKQL_LOG_FORMAT": "json",
        "TASK_HANDLERS": "tests.system.log_kinds",
    }
    async with Deployment(stack, tmp_path_factory.mktemp("logs"), settings) as deployment:
        parts = urlsplit(deployment.env["DATABASE_URL"])
        host = parts.netloc.rpartition("@")[2]
        with_password = parts._replace(netloc=f"{parts.username or 'postgres'}:{MARK}@{host}")
        deployment.env["DATABASE_URL"] = with_password.geturl()
        deployment.start_api()
        deployment.start_consumers()
        yield deployment


async def ask(api: Deployment, query: str, headers: Mapping[str, str] | None = None, **variables: Any) -> Any:
    sent = {"Authorization": f"Bearer {BEARER}", **(headers or {})}
    async with httpx.AsyncClient(timeout=60) as http:
        return await http.post(
            f"{api.url}/graphql", json={"query": query, "variables": variables}, headers=sent
        )


def marked_input(kind: str, work: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    texts = {
        "title": f"{MARK} title",
        "description": f"{MARK} description",
        "tags": [f"{MARK}-tag"],
        "orderingKey": f"{MARK}-order",
    }
    return {**texts, "work": {kind: work}, **more}


async def done(api: Deployment, kind: str, work: Mapping[str, Any], **more: Any) -> Any:
    """The task once it has ended."""
    created = (await ask(api, CREATE, input=marked_input(kind, work, **more))).json()["data"]["createTask"]
    assert created["userErrors"] == []
    return (await states(api, created["task"]["id"]))[-1]


async def states(api: Deployment, task_id: str) -> list[Any]:
    async with socket(api) as opened:
        payload = {"query": WATCH, "variables": {"id": task_id, "afterVersion": None}}
        await opened.send(json.dumps({"id": MARK, "type": "subscribe", "payload": payload}))
        seen = []
        while (message := json.loads(await opened.recv()))["type"] != "complete":
            if message["type"] == "next":
                seen.append(message["payload"]["data"]["taskStatus"])
        return seen


@asynccontextmanager
async def socket(api: Deployment, authorization: str | None = None) -> AsyncIterator[Any]:
    async with connect(api.ws_url, subprotocols=[Subprotocol("graphql-transport-ws")]) as opened:
        payload = {"authorization": authorization or f"Bearer {BEARER}"}
        await opened.send(json.dumps({"type": "connection_init", "payload": payload}))
        with suppress(ConnectionClosed):
            await opened.recv()
        yield opened


def lines(process: Process) -> list[dict[str, Any]]:
    """Every line is an object: what is none, nothing could collect."""
    return [json.loads(line) for line in process.said.splitlines()]


def lines_about(process: Process, **named: Any) -> list[dict[str, Any]]:
    return [line for line in lines(process) if named.items() <= line.items()]


async def test_a_task_s_lines_carry_the_trace_of_the_request_that_made_it(marked: Deployment) -> None:
    api, consumer = marked.processes
    answer = await ask(
        marked, CREATE, TRACED, input={"title": "traced", "work": {"loggingCount": {"text": "abc"}}}
    )
    assert answer.headers["x-request-id"] == "from-the-test"
    task_id = answer.json()["data"]["createTask"]["task"]["id"]
    assert (await states(marked, task_id))[-1]["status"] == "COMPLETED"
    of_the_task = {"trace_id": TRACE_ID, "task_id": task_id, "kind": "loggingCount", "attempt": 1}
    [counting] = lines_about(consumer, chars=3)
    assert of_the_task.items() <= counting.items()
    of_the_request = {"trace_id": TRACE_ID, "request_id": "from-the-test", "operation": "Create"}
    poll(lambda: lines_about(api, **of_the_request), END_SECONDS)
    [access] = lines_about(api, **of_the_request)
    assert access["message"].startswith("answered with 200 after ")
    connection = await marked.connect()
    stored = await connection.fetchval("SELECT trace_context FROM tasks WHERE id = $1", task_id)
    await connection.close()
    assert json.loads(stored) == {"traceparent": TRACED["Traceparent"]}


async def test_every_answer_names_its_request(marked: Deployment) -> None:
    [first, second] = [await ask(marked, "{ __typename }", {"X-Request-Id": "not sane"}) for _ in range(2)]
    assert len(first.headers["x-request-id"]) == 32
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    refused = await ask(marked, "{ nothing }", {"Authorization": "Bearer no", "X-Request-Id": "mine"})
    assert (refused.status_code, refused.headers["x-request-id"]) == (401, "mine")
    headers = {**SSE, "Authorization": f"Bearer {BEARER}", "X-Request-Id": "a-stream"}
    body = {"query": WATCH, "variables": {"id": str(uuid4())}}
    async with httpx.AsyncClient() as http:
        stream = await http.post(f"{marked.url}/graphql", json=body, headers=headers)
    assert (stream.status_code, stream.headers["x-request-id"]) == (200, "a-stream")
    async with connect(
        marked.ws_url,
        subprotocols=[Subprotocol("graphql-transport-ws")],
        additional_headers={"X-Request-Id": "a-socket"},
    ) as opened:
        assert opened.response is not None
        assert opened.response.headers["x-request-id"] == "a-socket"


async def test_nothing_that_is_anybody_s_own_is_logged(marked: Deployment) -> None:
    """Success and failure, in every way that we know of, with a mark in all that must not be told."""
    await all_goes_well(marked)
    await requests_are_refused(marked)
    await sockets_break_the_protocol(marked)
    await handlers_fail(marked)
    await postgresql_refuses(marked)
    for process in marked.processes:
        assert lines(process), process.module
        assert MARK not in process.said
        assert not any(part in process.said for part in BEARER.split(".")), "a token"


async def all_goes_well(marked: Deployment) -> None:
    ended = await done(marked, "reverse", {"inputData": MARK}, idempotencyKey=f"{MARK}-key")
    assert ended["result"]["outputData"] == MARK[::-1]
    again = marked_input("reverse", {"inputData": "other"}, idempotencyKey=f"{MARK}-key")
    answer = (await ask(marked, CREATE, input=again)).json()
    assert answer["data"]["createTask"]["userErrors"][0]["code"] == "IDEMPOTENCY_CONFLICT"
    found = await ask(
        marked,
        "query Find($tags: [String!], $title: String) { tasks(filter: {tags: $tags, titleContains: $title}) "
        "{ totalCount nodes { input } } }",
        tags=[f"{MARK}-tag"],
        title=MARK,
    )
    assert found.json()["data"]["tasks"]["totalCount"] == 1


async def requests_are_refused(marked: Deployment) -> None:
    for wrong in (token(f"{SECRET}-no"), MARK, token(SECRET, sub=None, jti=MARK), token(SECRET, exp=1)):
        assert (await ask(marked, CREATE, {"Authorization": f"Bearer {wrong}"})).status_code == 401
    for query, variables in (
        (f'{{ task(id: "{MARK}") {{ id }} }}', {}),
        (f"{{ {MARK} }}", {}),
        (f'{{ "{MARK}', {}),
        (CREATE, {"input": {"title": {"no": MARK}}}),
        (CREATE, {"input": {"title": MARK, "priority": MARK}}),
        ("query ($a: String) { tasks(first: 1, after: $a) { totalCount } }", {"a": MARK}),
    ):
        assert (await ask(marked, query, **variables)).json()["errors"]
    invalid = marked_input("compute", {"numbers": []}, title=f"{MARK}\0", runAt="2099-01-01T00:00:00Z")
    answer = (await ask(marked, CREATE, input=invalid)).json()["data"]["createTask"]
    assert answer["userErrors"][0]["code"] == "INVALID"
    async with httpx.AsyncClient() as http:
        for body in (f'{{"query": "{MARK}', f'["{MARK}"]', f"{MARK}"):
            sent = {"Authorization": f"Bearer {BEARER}", "Content-Type": "application/json"}
            assert (await http.post(f"{marked.url}/graphql", content=body, headers=sent)).is_error
        assert (await http.get(f"{marked.url}/{MARK}?a={MARK}")).status_code == 404


async def sockets_break_the_protocol(marked: Deployment) -> None:
    async with socket(marked, f"Bearer {MARK}") as opened:
        assert opened.close_code == 4403
    for frame in (
        f"{MARK}",
        f'{{"type": "{MARK}"}}',
        f'{{"type": "subscribe", "id": "{MARK}"}}',
        MARK.encode(),
    ):
        async with socket(marked) as opened:
            await opened.send(frame)
            with suppress(ConnectionClosed):
                while True:
                    await opened.recv()
            assert opened.close_code == 4400


async def handlers_fail(marked: Deployment) -> None:
    for kind, work in (
        ("badCount", {"text": MARK}),
        ("badCountHere", {"text": MARK}),
        ("fail", {"message": MARK, "permanent": True}),
    ):
        assert (await done(marked, kind, work))["status"] == "FAILED"


async def postgresql_refuses(marked: Deployment) -> None:
    """Its errors quote whole rows."""
    api, _ = marked.processes
    connection = await marked.connect()
    try:
        await connection.execute(
            "ALTER TABLE tasks ADD CONSTRAINT no CHECK (title NOT LIKE '%refused%') NOT VALID"
        )
        refused = marked_input("process", {}, title=f"{MARK} refused")
        assert (await ask(marked, CREATE, input=refused)).status_code == 200
        assert "errors" not in (await ask(marked, CREATE_MANY, tasks=[refused, refused])).json()
        await connection.execute("ALTER TABLE tasks DROP CONSTRAINT no")
        await connection.execute("ALTER TABLE tasks RENAME COLUMN title TO hidden")
        answer = (await ask(marked, CREATE, input=refused)).json()
        assert answer["errors"][0]["extensions"]["code"] == "INTERNAL"
    finally:
        await connection.execute("ALTER TABLE tasks RENAME COLUMN hidden TO title")
        await connection.close()
    [told] = [line for line in lines(api) if answer["errors"][0]["extensions"]["id"] in line["message"]]
    assert "in create_task" in told["exception"]
    assert "42703" in told["exception"], "PostgreSQL's code is told"
    assert any("CheckViolationError" in line.get("exception", "") for line in lines(api))


async def test_a_wrong_setting_is_named_without_its_value(marked: Deployment, tmp_path: Path) -> None:
    """Also where a program ends by it."""
    wrong = {"gql": "DATABASE_URL", "consumer": "REDIS_URL"}
    started = [
        Process(
            module,
            {**marked.env, name: f"{name.split('_')[0].lower()}://taskql:{MARK}@127.0.0.1:notaport/0"},
            tmp_path / f"{module}.log",
        )
        for module, name in wrong.items()
    ]
    for process in started:
        assert process.wait() == 1, process.said
        assert MARK not in process.said
        assert "TaskQL: the" in process.said
