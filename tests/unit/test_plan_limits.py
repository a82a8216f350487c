"""Limits and permissions hold for answers by plan as for all: the same requests, with plans and without."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

import httpx
import pytest

from gql.limits import Limits
from gql.viewer import Scope, Viewer
from taskql.errors import Unavailable
from taskql.ports import Allowance
from tests.unit.endpoint import GRAPHQL, JSON, Endpoint
from tests.unit.stub_api import TASK_ID
from tests.unit.test_rates import ScriptedRates

ONE = "query One($id: ID!) { task(id: $id) { id status attempts { number } } }"
CREATE = "mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } created } }"
ASKING: dict[str, dict[str, Any]] = {
    "task": {"query": ONE, "variables": {"id": str(TASK_ID)}},
    "createTask": {"query": CREATE, "variables": {"input": {"title": "a"}}},
}
ALICE = Viewer("alice", frozenset({Scope.READ, Scope.WRITE}))


class As:
    """Authenticates everybody as one viewer."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer

    async def viewer(self, values: Sequence[str]) -> Viewer:
        return self._viewer


def seen_by(viewer: Viewer) -> dict[str, Any]:
    return {"authenticator": As(viewer)}


def refusing() -> ScriptedRates:
    return ScriptedRates(Allowance(False, 0, 10, 1.0, 2.5, 10))


CASES: dict[str, tuple[dict[str, Any], str | None]] = {
    "nothing in the way": ({}, None),
    "a cost too high": ({"limits": Limits(complexity=5)}, "TOO_COMPLEX"),
    "no introspection": ({"limits": Limits(introspection=False)}, None),
    "too few tokens": ({"limits": Limits(tokens=5)}, "TOO_COMPLEX"),
    "too shallow": ({"limits": Limits(depth=1)}, "TOO_COMPLEX"),
    "without a scope": (seen_by(replace(ALICE, scopes=frozenset())), "FORBIDDEN"),
    "with a watch token": (seen_by(replace(ALICE, watches=TASK_ID)), "FORBIDDEN"),
    "with a token that has ended": (
        seen_by(replace(ALICE, expires_at=time.time() - 1)), "UNAUTHENTICATED",
    ),
    "with a token that will end": (seen_by(replace(ALICE, expires_at=time.time() + 3600)), None),
    "as an administrator": (seen_by(replace(ALICE, owner="root", scopes=frozenset({Scope.ADMIN}))), None),
    "as somebody else": (seen_by(replace(ALICE, owner="bob")), None),
    "a document that nobody trusts": ({"trusted": {"kinds": "{ kinds { name } }"}}, "FORBIDDEN"),
    "trusted documents": ({"trusted": {"task": ONE, "createTask": CREATE}}, None),
}  # fmt: skip


def told(answer: httpx.Response) -> tuple[int, dict[str, str], str]:
    return answer.status_code, dict(answer.headers), answer.text


async def both(
    monkeypatch: pytest.MonkeyPatch, around: dict[str, Any], asked: dict[str, Any], accept: str, **stored: Any
) -> tuple[Endpoint, httpx.Response]:
    """The endpoint with plans and its answer, which is that of one without; they did the same."""
    with_plans, without = Endpoint(**around), Endpoint(**around)

    async def nothing(*_: Any) -> None: ...

    monkeypatch.setattr(without.view._plans, "answer", nothing)
    answers = []
    for endpoint in (with_plans, without):
        for name, value in stored.items():
            setattr(endpoint.api.store, name, value)
        answers.append(await endpoint.send(json=asked, headers={"Accept": accept}))
    assert told(answers[0]) == told(answers[1])
    assert with_plans.api.store.batches == without.api.store.batches
    return with_plans, answers[0]


@pytest.mark.parametrize("asked", ASKING.values(), ids=ASKING)
@pytest.mark.parametrize(("around", "code"), CASES.values(), ids=CASES)
async def test_limits_and_permissions_hold_for_a_plan(
    monkeypatch: pytest.MonkeyPatch,
    around: dict[str, Any],
    code: str | None,
    asked: dict[str, Any],
) -> None:
    endpoint, answer = await both(monkeypatch, around, asked, GRAPHQL)
    errors = answer.json().get("errors", [])
    assert [error["extensions"]["code"] for error in errors] == ([code] if code else [])
    if code:
        assert endpoint.api.store.batches == []


@pytest.mark.parametrize("asked", ASKING.values(), ids=ASKING)
async def test_a_request_too_many_is_refused(asked: dict[str, Any]) -> None:
    endpoint = Endpoint(rates=refusing())
    assert (await endpoint.send(json=asked)).status_code == 429
    assert endpoint.api.store.batches == []


async def test_a_mutation_needs_a_post() -> None:
    endpoint = Endpoint()
    params = {"query": CREATE, "variables": '{"input": {"title": "a"}}'}
    assert (await endpoint.send("GET", params=params)).status_code == 405
    assert endpoint.api.store.batches == []


@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
@pytest.mark.parametrize("asked", ASKING.values(), ids=ASKING)
async def test_an_outage_is_told_alike(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], accept: str
) -> None:
    _, answer = await both(monkeypatch, {}, asked, accept, failure=Unavailable("away"))
    [error] = answer.json()["errors"]
    assert (error["extensions"]["code"], error["path"]) == (
        "UNAVAILABLE",
        [asked["query"].split("{ ")[1].split("(")[0]],
    )


@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
@pytest.mark.parametrize("asked", ASKING.values(), ids=ASKING)
async def test_an_operation_that_takes_too_long_is_given_up_alike(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], accept: str
) -> None:
    begun: list[object] = []

    async def never(*what: object) -> NoReturn:
        begun.append(what)
        await asyncio.Event().wait()
        raise AssertionError

    around = {"limits": Limits(operation_seconds=0.01)}
    _, answer = await both(monkeypatch, around, asked, accept, create=never, fetch=never)
    assert answer.json()["errors"][0]["extensions"]["code"] == "TIMEOUT"
    assert len(begun) == 2


async def test_a_service_that_ends_its_wait_by_itself_is_told_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gives_up(*_: object) -> NoReturn:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise Unavailable("gave up") from None
        raise AssertionError

    around = {"limits": Limits(operation_seconds=0.01)}
    _, answer = await both(monkeypatch, around, ASKING["createTask"], JSON, create=gives_up)
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
