"""An API that lets in whoever bears a token: over HTTP, server-sent events and WebSocket, from the first word
to the token's end. One of them shares a secret with its issuer, another fetches the issuer's keys.
"""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from gql.authentication import open_keys
from taskql.devstack import DevStack
from taskql.settings import load_access_settings
from tests.deployment import QUICK, ROOT, Deployment
from tests.documents import Block, blocks
from tests.tokens import RSA, SECRET, jwk_of, token
from web.build import node_environment, set_up

BLOCKS = blocks("docs/authentication.md")
SETTINGS = [block for block in BLOCKS if block.language == "ini"]
[START] = [block for block in BLOCKS if "make run" in block.text]
[COMMANDS] = [block for block in BLOCKS if "curl" in block.text]
[WATCH_TOKEN] = [block for block in BLOCKS if block.language == "graphql"]
[CLIENT] = [block for block in BLOCKS if block.language == "js"]

CREATE = """mutation { createTask(input: {title: "mine", work: {countdown: {steps: 600, stepSeconds: 1}}}) {
  task { id owner } userErrors { message } } }"""
WATCH = "subscription ($id: ID!) { taskStatus(id: $id) { status } }"
UPDATES = "subscription { taskUpdates { status } }"
CANCEL = "mutation ($id: ID!) { cancelTask(input: {id: $id}) { task { status } userErrors { code } } }"
MAKE_WATCH_TOKEN = """mutation ($id: ID!, $ttl: Int!) {
  createWatchToken(input: {id: $id, ttlSeconds: $ttl}) { token expiresAt userErrors { code } } }"""
READ = "query ($id: ID!) { task(id: $id) { id } node(id: $id) { id } tasks { totalCount nodes { id } } }"


@pytest.fixture(scope="module")
async def api(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """With AUTH=jwt and a secret; nothing runs its tasks."""
    settings = {**QUICK, "AUTH": "jwt", "JWT_SECRET": SECRET}
    async with Deployment(stack, tmp_path_factory.mktemp("jwt"), settings) as deployment:
        deployment.start_api()
        yield deployment


async def ask(api: Deployment, bearer: str | None, query: str, **variables: Any) -> httpx.Response:
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    async with httpx.AsyncClient() as http:
        return await http.post(
            f"{api.url}/graphql", json={"query": query, "variables": variables}, headers=headers
        )


async def data(api: Deployment, bearer: str, query: str, **variables: Any) -> Any:
    body = (await ask(api, bearer, query, **variables)).json()
    assert "errors" not in body, body
    return body["data"]


def code(body: Mapping[str, Any]) -> str:
    return str(body["errors"][0]["extensions"]["code"])


async def create(api: Deployment, bearer: str) -> str:
    return str((await data(api, bearer, CREATE))["createTask"]["task"]["id"])


@pytest.fixture(scope="module")
def consumer(api: Deployment) -> None:
    api.start_consumers()


@asynccontextmanager
async def socket(
    api: Deployment, init: Mapping[str, Any] | None = None, bearer: str | None = None
) -> AsyncIterator[ClientConnection]:
    """After connection_init, before any answer."""
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    protocols = [Subprotocol("graphql-transport-ws")]
    async with connect(api.ws_url, subprotocols=protocols, additional_headers=headers) as opened:
        payload = {} if init is None else {"payload": init}
        await opened.send(json.dumps({"type": "connection_init", **payload}))
        yield opened


async def said(opened: ClientConnection) -> Any:
    while (message := json.loads(await opened.recv()))["type"] == "ping":
        pass
    return message


async def subscribe(opened: ClientConnection, query: str, operation: str = "1", **variables: Any) -> None:
    payload = {"query": query, "variables": variables}
    await opened.send(json.dumps({"id": operation, "type": "subscribe", "payload": payload}))


async def closed(opened: ClientConnection) -> tuple[int | None, str | None]:
    """How the server closes it."""
    with suppress(ConnectionClosed):
        while True:
            await opened.recv()
    return opened.close_code, opened.close_reason


async def events(api: Deployment, bearer: str, query: str, **variables: Any) -> AsyncIterator[Any]:
    """The results of a stream, and at the end the word `complete`."""
    headers = {"Authorization": f"Bearer {bearer}", "Accept": "text/event-stream"}
    body = {"query": query, "variables": variables}
    async with (
        httpx.AsyncClient(timeout=30) as http,
        http.stream("POST", f"{api.url}/graphql", json=body, headers=headers) as answer,
    ):
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                yield json.loads(line.removeprefix("data: "))
            elif line.startswith("event: complete"):
                yield "complete"


# ---------------------------------------------------------------- HTTP


async def test_request_without_a_token_that_counts_is_401_and_says_why(api: Deployment) -> None:
    answer = await ask(api, None, "{ __typename }")
    assert (answer.status_code, code(answer.json())) == (401, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"] == "Bearer"
    for bad in ("nonsense", token(exp=int(time.time()) - 1), token("x" * 32), token(aud="other")):
        answer = await ask(api, bad, "{ __typename }")
        assert (answer.status_code, code(answer.json())) == (401, "UNAUTHENTICATED")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert bad not in answer.text


async def test_several_authorization_headers_are_refused(api: Deployment) -> None:
    twice = [("Authorization", f"Bearer {token()}"), ("Authorization", f"Bearer {token(sub='bob')}")]
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{api.url}/graphql", json={"query": "{ __typename }"}, headers=twice)
    assert (answer.status_code, code(answer.json())) == (401, "UNAUTHENTICATED")


async def test_token_opens_what_its_scopes_say_and_no_more(api: Deployment) -> None:
    assert (await data(api, token(scope=""), "{ kinds { name } __typename }"))["kinds"]
    for scope, query in (
        ("", "{ tasks { totalCount } }"),
        ("tasks:read", CREATE),
        ("tasks:write", "{ tasks { totalCount } }"),
        ("tasks:read tasks:write", "{ queues { name } }"),
        ("tasks:read tasks:write", "{ deadLetters { nodes { id } } }"),
    ):
        body = (await ask(api, token(scope=scope), query)).json()
        assert code(body) == "FORBIDDEN"
        assert "data" not in body
    everything = "{ queues { name } deadLetters { nodes { id } } tasks { totalCount } }"
    assert len((await data(api, token(scope="tasks:admin"), everything))["queues"]) == 4


async def test_task_is_its_owner_s_alone_and_an_administrator_s(api: Deployment) -> None:
    task_id = await create(api, token(sub="carol"))
    assert (await data(api, token(sub="carol"), READ, id=task_id))["tasks"]["totalCount"] == 1
    assert await data(api, token(sub="dave"), READ, id=task_id) == {
        "task": None,
        "node": None,
        "tasks": {"totalCount": 0, "nodes": []},
    }
    refused = await data(api, token(sub="dave"), CANCEL, id=task_id)
    assert refused["cancelTask"]["userErrors"] == [{"code": "NOT_FOUND"}]
    seen = await data(api, token(sub="root", scope="tasks:admin"), READ, id=task_id)
    assert seen["task"] == seen["node"] == {"id": task_id}
    assert {"id": task_id} in seen["tasks"]["nodes"]
    done = await data(api, token(sub="root", scope="tasks:admin"), CANCEL, id=task_id)
    assert done["cancelTask"]["task"] == {"status": "CANCELLED"}


async def test_health_and_pages_need_no_token(api: Deployment) -> None:
    async with httpx.AsyncClient(base_url=api.url) as http:
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).status_code == 200
        page = await http.get("/graphql", headers={"Accept": "text/html"})
        assert page.headers["content-type"].startswith("text/html")


# ---------------------------------------------------------------- WebSocket


@pytest.mark.parametrize("name", ["authorization", "Authorization"])
async def test_socket_says_who_asks_in_connection_init(api: Deployment, name: str) -> None:
    task_id = await create(api, token())
    async with socket(api, {name: f"Bearer {token()}"}) as opened:
        assert await said(opened) == {"type": "connection_ack"}
        await subscribe(opened, WATCH, id=task_id)
        assert (await said(opened))["payload"] == {"data": {"taskStatus": {"status": "PENDING"}}}


async def test_socket_says_who_asks_at_the_handshake(api: Deployment) -> None:
    async with socket(api, bearer=token(sub="erin")) as opened:
        assert await said(opened) == {"type": "connection_ack"}
        await subscribe(opened, 'mutation { createTask(input: {title: "x"}) { task { owner } } }')
        assert (await said(opened))["payload"]["data"]["createTask"]["task"] == {"owner": "erin"}
        await opened.send('{"type": "connection_init"}')
        assert await closed(opened) == (4429, "Too many initialisation requests")


@pytest.mark.parametrize(
    ("init", "bearer", "says"),
    [
        (None, None, "wants to know who asks"),
        ({}, None, "wants to know who asks"),
        ({"authorization": "Bearer nonsense"}, None, "no JSON web token"),
        ({"authorization": "Bearer nonsense"}, token(), "no JSON web token"),
        ({"authorization": token()}, None, "another scheme than Bearer"),
        ({"authorization": 7}, None, "must be a text"),
        ({}, token(exp=1), "has ended"),
    ],
)
async def test_socket_of_nobody_is_closed_with_4403(
    api: Deployment, init: Any, bearer: str | None, says: str
) -> None:
    async with socket(api, init, bearer) as opened:
        number, reason = await closed(opened)
    assert number == 4403
    assert says in str(reason)


async def test_socket_s_operations_need_scopes_too(api: Deployment) -> None:
    async with socket(api, {"authorization": f"Bearer {token(scope='tasks:write')}"}) as opened:
        assert await said(opened) == {"type": "connection_ack"}
        for number, query in enumerate(
            (UPDATES, "subscription { queues { name } }", "{ tasks { totalCount } }")
        ):
            await subscribe(opened, query, str(number))
            refused = await said(opened)
            assert (refused["type"], refused["id"]) == ("error", str(number))
            assert refused["payload"][0]["extensions"]["code"] == "FORBIDDEN"


# ---------------------------------------------------------------- the token's end


async def test_what_is_watched_ends_with_the_token(api: Deployment) -> None:
    task_id = await create(api, token())
    brief = token(exp=int(time.time()) + 2)

    async def over_socket() -> None:
        async with socket(api, {"authorization": f"Bearer {brief}"}) as opened:
            assert await said(opened) == {"type": "connection_ack"}
            await subscribe(opened, WATCH, id=task_id)
            assert (await said(opened))["type"] == "next"
            assert await closed(opened) == (4403, "The token has ended")

    async def over_events(query: str, **variables: Any) -> None:
        *results, last, complete = [event async for event in events(api, brief, query, **variables)]
        assert (code(last), complete) == ("UNAUTHENTICATED", "complete")
        assert all("errors" not in result for result in results)

    async with asyncio.timeout(20):
        await asyncio.gather(over_socket(), over_events(WATCH, id=task_id), over_events(UPDATES))


# ---------------------------------------------------------------- watch tokens


async def test_watch_token_starts_the_watch_of_one_task_and_nothing_else(api: Deployment) -> None:
    task_id, other_id = await create(api, token()), await create(api, token())
    made = (await data(api, token(scope="tasks:read"), MAKE_WATCH_TOKEN, id=task_id, ttl=60))[
        "createWatchToken"
    ]
    assert made["userErrors"] == []
    watching = made["token"]

    for query in (CREATE, "{ kinds { name } }", "{ __typename }", READ, MAKE_WATCH_TOKEN):
        body = (await ask(api, watching, query, id=task_id, ttl=60)).json()
        assert code(body) == "FORBIDDEN", query
    [foreign, complete] = [event async for event in events(api, watching, WATCH, id=other_id)]
    assert (code(foreign), complete) == ("NOT_FOUND", "complete")
    hidden = WATCH.replace("status", "... on Task { about: input }")
    async with socket(api, {"authorization": f"Bearer {watching}"}) as opened:
        assert await said(opened) == {"type": "connection_ack"}
        await subscribe(opened, hidden, id=task_id)
        refused = await said(opened)
        assert refused["payload"][0]["message"] == "A watch token does not show Task.input."
        assert refused["payload"][0]["extensions"]["code"] == "FORBIDDEN"
        await subscribe(opened, WATCH, id=task_id)
        assert (await said(opened))["payload"]["data"] == {"taskStatus": {"status": "PENDING"}}


async def test_watch_goes_on_after_the_watch_token_but_none_begins(api: Deployment) -> None:
    task_id = await create(api, token())
    made = (await data(api, token(), MAKE_WATCH_TOKEN, id=task_id, ttl=2))["createWatchToken"]
    init = {"authorization": f"Bearer {made['token']}"}
    stream = events(api, made["token"], WATCH, id=task_id)
    async with asyncio.timeout(20), socket(api, init) as opened:
        assert await said(opened) == {"type": "connection_ack"}
        await subscribe(opened, WATCH, id=task_id)
        assert (await said(opened))["payload"]["data"] == {"taskStatus": {"status": "PENDING"}}
        assert (await anext(stream))["data"] == {"taskStatus": {"status": "PENDING"}}
        while (await ask(api, made["token"], WATCH, id=task_id)).status_code != 401:
            await asyncio.sleep(0.1)
        await subscribe(opened, WATCH, "2", id=task_id)
        refused = await said(opened)
        assert refused["payload"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        await data(api, token(), CANCEL, id=task_id)
        assert (await said(opened))["payload"]["data"] == {"taskStatus": {"status": "CANCELLED"}}
        assert await said(opened) == {"id": "1", "type": "complete"}
        assert (await anext(stream))["data"] == {"taskStatus": {"status": "CANCELLED"}}
        assert await anext(stream) == "complete"
        await stream.aclose()  # type: ignore[attr-defined]


# ---------------------------------------------------------------- an issuer's keys


class Issuer:
    """Publishes its key on this machine, once it is told to."""

    def __init__(self) -> None:
        self.up = False
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if issuer.up else 503)
                self.end_headers()
                self.wfile.write(json.dumps({"keys": [jwk_of(RSA, "one")]}).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.close()


async def test_api_starts_without_its_issuer_and_knows_everybody_once_it_is_there(
    stack: DevStack, tmp_path: Path, issuer: Issuer
) -> None:
    settings = {**QUICK, "AUTH": "jwt", "JWT_JWKS_URL": issuer.url, "JWT_AUDIENCE": "taskql"}
    bearer = token(RSA, "RS256", {"kid": "one"}, aud="taskql")
    async with Deployment(stack, tmp_path, settings) as deployment:
        api = deployment.start_api()
        assert "AUTH=jwt: a token is needed, signed by RS256 or ES256" in api.said
        answer = await ask(deployment, bearer, "{ __typename }")
        assert (answer.status_code, code(answer.json())) == (503, "UNAVAILABLE")
        async with socket(deployment, {"authorization": f"Bearer {bearer}"}) as opened:
            assert (await closed(opened))[0] == 1013
        assert (await ask(deployment, None, "{ __typename }")).status_code == 401
        issuer.up = True
        async with asyncio.timeout(20):
            while (answer := await ask(deployment, bearer, CREATE)).status_code == 503:
                await asyncio.sleep(0.1)
        assert answer.json()["data"]["createTask"]["task"]["owner"] == "alice"
        assert code((await ask(deployment, token(), CREATE)).json()) == "UNAUTHENTICATED"
        assert bearer not in api.said


# ---------------------------------------------------------------- docs/authentication.md


@pytest.mark.parametrize("block", SETTINGS, ids=lambda block: block.text.splitlines()[1].partition("=")[0])
async def test_settings_of_the_page_are_complete(
    block: Block, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(block.text)
    access = load_access_settings()
    assert access.auth == "jwt"
    async with open_keys(access) as keys:
        assert keys is not None


async def test_secret_of_the_page_is_long_enough(api: Deployment) -> None:
    printed = await shell(api, START.text.replace("make run", 'echo "$AUTH $JWT_SECRET"'))
    method, secret = printed.split()
    assert (method, len(secret)) == ("jwt", 64)


async def test_commands_of_the_page_make_a_token_that_counts(api: Deployment, consumer: None) -> None:
    bearer, created = (await shell(api, f"{COMMANDS.text}\necho; echo $TOKEN")).splitlines()[::-1]
    assert json.loads(created)["data"]["createTask"]["task"]["owner"] == "alice"
    said = await asyncio.to_thread(api.run, "taskql", "verify", "--url", api.url, "--token", bearer)
    assert "All is well." in said


async def test_page_s_client_watches_with_the_page_s_watch_token(
    api: Deployment, consumer: None, tmp_path: Path
) -> None:
    quick = CREATE.replace("600", "2").replace("stepSeconds: 1", "stepSeconds: 0.1")
    task_id = (await data(api, token(), quick))["createTask"]["task"]["id"]
    made = (await data(api, token(), WATCH_TOKEN.text, id=task_id))["createWatchToken"]
    await asyncio.to_thread(set_up)
    (tmp_path / "node_modules").symlink_to(ROOT / "web" / "node_modules")
    given = f"const id = '{task_id}', freshToken = async () => '{made['token']}';\n"
    (tmp_path / "page.mjs").write_text(given + here(CLIENT, api))
    command = f"node --no-warnings --experimental-websocket {tmp_path}/page.mjs"
    assert (await shell(api, command)).splitlines()[-1] == "COMPLETED"


def test_every_block_of_the_page_is_tried() -> None:
    assert sorted(map(id, [*SETTINGS, START, COMMANDS, WATCH_TOKEN, CLIENT])) == sorted(map(id, BLOCKS))


def here(block: Block, api: Deployment) -> str:
    text = block.text.replace("localhost:8000", f"127.0.0.1:{api.port}")
    return text.replace(".venv/bin/python", sys.executable)


async def shell(api: Deployment, command: str) -> str:
    """What it prints; it must succeed."""
    command = here(Block("sh", command), api)
    process = await asyncio.create_subprocess_exec(
        "sh", "-ec", command, cwd=ROOT, stdout=PIPE, env={**os.environ, **node_environment(), **api.env}
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()
