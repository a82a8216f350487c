"""The page of limits against the settings and the code: every limit is on it, and each is exceeded here."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from gql.cost import COUNT_COST, LIST_SIZES, ROOT_COST, TASK_COST, UNKNOWN_SIZE
from gql.errors import ErrorCode
from gql.excesses import MAX_FIELDS, MAX_FRAGMENTS, MAX_ROOT_FIELDS
from gql.limits import Limits
from gql.request import MAX_CONTAINERS, MAX_ITEMS, MAX_JSON_DEPTH, MAX_QUERY_STRING_BYTES
from taskql.limits import LimitSettings
from tests.deployment import ROOT
from tests.unit.endpoint import Endpoint
from tests.unit.peer import Peer, socket
from tests.unit.stage import OWNER, staged, task_at
from tests.unit.stub_api import viewer
from tests.unit.test_rates import REFUSED, ScriptedRates

PAGE = (ROOT / "docs" / "limits.md").read_text()
ROW = re.compile(r"^\| (.+?) \| (\S*) ?\| (?:`([A-Z_]+)`)? ?\| ([A-Z_]+) \| (.+) \|$", re.MULTILINE)
ROWS = {row[0]: row for row in ROW.findall(PAGE)}
WITHOUT_A_REFUSAL = {"taskql_trusted_proxies"}
"""Settings on the page that are no limits themselves."""
CONSTANTS = {
    "fields at the top of an operation": MAX_ROOT_FIELDS,
    "fields of an operation, those of fragments wherever they are spread": MAX_FIELDS,
    "fragments of a document": MAX_FRAGMENTS,
    "bytes of the query string of a GET": MAX_QUERY_STRING_BYTES,
    "nested lists and objects of JSON": MAX_JSON_DEPTH,
    "items of a list in the variables": MAX_ITEMS,
    "objects and lists in the variables": MAX_CONTAINERS,
    "operations in a request": 1,
}
TASK = task_at(1)
WATCH = f'subscription {{taskStatus(id: "{TASK.id}") {{version}}}}'

KINDS = {"query": "{kinds {name}}"}

Answers = Callable[[], Awaitable[Any]]


def asked(query: str, **limits: Any) -> Answers:
    async def answers() -> Any:
        answer = await Endpoint(limits=Limits(**limits)).ask(query)
        return answer.json()["errors"][0]

    return answers


def too_slow(query: str) -> Answers:
    async def answers() -> Any:
        endpoint = Endpoint(limits=Limits(operation_seconds=0.01))
        never: Any = asyncio.Event().wait
        service: Any = endpoint.api.context.service
        for method in ("get", "create"):
            setattr(service, method, lambda *_: never())
        return (await endpoint.ask(query)).json()["errors"][0]

    return answers


def watched(sockets: int, /, **limits: int) -> Answers:
    """What the last of so many connections hears, at its start or when it begins a second operation."""

    async def answers() -> Any:
        async with staged(TASK) as stage, AsyncExitStack() as stack:
            endpoint = Endpoint(hub=stage.hub, limits=Limits(**limits))  # type: ignore[arg-type]
            endpoint.api.context = replace(endpoint.api.context, viewer=viewer(OWNER))
            *_, last = [await stack.enter_async_context(socket(endpoint.app)) for _ in range(sockets)]
            if last.received[0]["type"] != "websocket.accept":
                return last.errors[0]
            await watch(last, "1")
            [error] = await watch(last, "2")
            return error

    return answers


async def watch(peer: Peer, number: str) -> Any:
    peer.subscribe(number, WATCH)
    return await peer.answer_to(number)


def sent(method: str = "POST", **how: Any) -> Answers:
    async def answers() -> Any:
        return (await Endpoint().send(method, **how)).json()["errors"][0]

    return answers


def with_variables(value: Any) -> Answers:
    return sent(json={**KINDS, "variables": {"value": value}})


async def too_large() -> Any:
    endpoint = Endpoint(limits=Limits(request_bytes=100))
    return (await endpoint.ask("{kinds {name}} #" + "x" * 100)).json()["errors"][0]


async def too_often() -> Any:
    return (await Endpoint(rates=ScriptedRates(REFUSED)).ask("{kinds {name}}")).json()["errors"][0]


async def untrusted() -> Any:
    return (await Endpoint(trusted={"kinds": "{kinds {name}}"}).ask("{queues {name}}")).json()["errors"][0]


def many(field: str, count: int) -> str:
    return "{" + " ".join([field] * count) + "}"


FRAGMENTS = " ".join(f"fragment F{index} on Query {{kinds {{name}}}}" for index in range(MAX_FRAGMENTS + 1))
EXCEEDED: dict[str, Answers] = {
    "tokens of a document": asked(many("__typename", 100), tokens=100),
    "levels of nested fields": asked("{kinds {name}}", depth=1),
    "aliases, those of fragments wherever they are spread": asked("{a: __typename}", aliases=0),
    "fields at the top of an operation": asked(many("kinds {name}", MAX_ROOT_FIELDS + 1)),
    "fields of an operation, those of fragments wherever they are spread": asked(
        "{kinds " + many("name", MAX_FIELDS) + "}"
    ),
    "fragments of a document": asked("{...F0} " + FRAGMENTS),
    "cost of an operation": asked("{tasks(first: 100) {nodes {id}}}", complexity=100),
    "seconds that a query may take": too_slow(f'{{task(id: "{TASK.id}") {{id}}}}'),
    "seconds that a mutation may take": too_slow('mutation {createTask(input: {title: "a"}) {created}}'),
    "bytes of a body or a WebSocket message": too_large,
    "bytes of the query string of a GET": sent(
        "GET", params={"query": "{kinds {name}} #" + "x" * MAX_QUERY_STRING_BYTES}
    ),
    "nested lists and objects of JSON": sent(
        content=b"[" * (MAX_JSON_DEPTH + 1) + b"]" * (MAX_JSON_DEPTH + 1),
        headers={"Content-Type": "application/json"},
    ),
    "items of a list in the variables": with_variables([0] * (MAX_ITEMS + 1)),
    "objects and lists in the variables": with_variables([[]] * MAX_CONTAINERS),
    "operations in a request": sent(json=[KINDS]),
    "WebSockets and event streams that are open": watched(2, connections=1),
    "of those, from one address": watched(2, connections_per_address=1),
    "operations open over one WebSocket": watched(1, subscriptions_per_connection=1),
    "operations of one owner open over WebSockets and event streams": watched(1, subscriptions_per_owner=1),
    "requests of one owner a second": too_often,
    "requests of one owner at once": too_often,
    "which documents run": untrusted,
    "whether clients may ask for the schema": asked("{__schema {types {name}}}", introspection=False),
}


@pytest.mark.parametrize("what", EXCEEDED)
async def test_beyond_a_limit_the_client_reads_what_the_page_says(what: str) -> None:
    *_, code, text = ROWS[what]
    error = await EXCEEDED[what]()
    assert error["extensions"]["code"] == code
    assert re.fullmatch(re.escape(text).replace("…", ".+"), error["message"])


def test_the_page_has_every_limit_once_with_its_setting_and_its_default() -> None:
    assert len(ROW.findall(PAGE)) == len(PAGE.split("\n\n")[2].splitlines()) - 2
    assert ROWS.keys() == EXCEEDED.keys()
    shown = {(setting.lower(), default) for _, default, setting, *_ in ROWS.values() if setting}
    assert shown == {
        (name, "" if field.default is None else str(field.default))
        for name, field in LimitSettings.model_fields.items()
        if name not in WITHOUT_A_REFUSAL
    }
    assert all(f"`{name.upper()}`" in PAGE for name in WITHOUT_A_REFUSAL)
    assert {what: int(default) for what, default, setting, *_ in ROWS.values() if not setting} == CONSTANTS
    assert {code for *_, code, _ in ROWS.values()} <= set(ErrorCode)


def test_the_page_tells_how_costs_are_counted() -> None:
    for text in (
        f"`attempts` has {LIST_SIZES['Task.attempts']}, `queues` {LIST_SIZES['Query.queues']}, "
        f"`kinds` {LIST_SIZES['Query.kinds']}, `userErrors` 1",
        f"of your own {UNKNOWN_SIZE}.",
        f"at the top costs {ROOT_COST} more",
        f"`totalCount` and `totalCountIsExact` cost {COUNT_COST} more",
        f"`createTasks` and `redriveTasks` cost {TASK_COST} more for each task",
    ):
        assert text in " ".join(PAGE.split())


def test_limits_without_settings_are_the_settings_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LimitSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    settings = LimitSettings()  # type: ignore[call-arg]  # the fields come from the environment
    assert Limits.of(settings) == Limits()


async def test_what_takes_too_long_is_called_off_over_every_transport() -> None:
    endpoint = Endpoint(limits=Limits(operation_seconds=0.01))
    called_off = []

    async def never(*_: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            called_off.append(True)
            raise

    service: Any = endpoint.api.context.service
    service.get = never
    query = f'{{task(id: "{TASK.id}") {{id}}}}'
    answer = await endpoint.ask(query)
    assert (answer.status_code, called_off) == (503, [True])
    assert answer.json()["errors"][0]["extensions"] == {"code": "TIMEOUT", "retryable": True}
    async with socket(endpoint.app) as peer:
        peer.subscribe("1", query)
        payload = await peer.answer_to("1")
        assert payload["errors"][0]["extensions"]["code"] == "TIMEOUT"
    assert called_off == [True, True]


async def test_a_stream_may_take_its_time() -> None:
    by_the_schema = "subscription {...F} fragment F on Subscription " + WATCH.removeprefix("subscription ")
    async with staged(TASK) as stage:
        endpoint = Endpoint(hub=stage.hub, limits=Limits(operation_seconds=1e-9))
        endpoint.api.context = replace(endpoint.api.context, hub=stage.hub, viewer=viewer(OWNER))
        async with socket(endpoint.app) as peer:
            peer.subscribe("1", by_the_schema)
            assert (await peer.answer_to("1"))["data"]
