"""Requests of an owner over time, as clients see their limit: headers, and a refusal that says when."""

from dataclasses import dataclass, field

import pytest

from taskql.ports import Allowance
from tests.unit.endpoint import GRAPHQL, JSON, Endpoint, code
from tests.unit.peer import socket, stream

KINDS = "{kinds {name}}"
GRANTED = Allowance(True, 3, 0.0, 0.35, 2.5, 5)
REFUSED = Allowance(False, 0, 0.4, 2.0, 2.5, 5)


@dataclass
class ScriptedRates:
    """Answers always the same; None is what it says while it can't count."""

    answer: Allowance | None
    owners: list[str] = field(default_factory=list)

    async def take(self, owner: str) -> Allowance | None:
        self.owners.append(owner)
        return self.answer


async def test_every_answer_tells_what_is_left() -> None:
    rates = ScriptedRates(GRANTED)
    endpoint = Endpoint(rates=rates)
    for answer in (
        await endpoint.ask(KINDS),
        await endpoint.ask("{nothing}", GRAPHQL),
        await endpoint.send("GET", params={"query": KINDS}),
        await endpoint.post(b"no JSON"),
    ):
        assert answer.headers["ratelimit-policy"] == '"owner";q=5;w=2'
        assert answer.headers["ratelimit"] == '"owner";r=3;t=1'
        assert "retry-after" not in answer.headers
    assert rates.owners == ["alice"] * 4


@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
async def test_a_request_too_many_is_told_when_to_come_again_and_does_nothing(accept: str) -> None:
    endpoint = Endpoint(rates=ScriptedRates(REFUSED))
    answer = await endpoint.ask('mutation {createTask(input: {title: "a"}) {created}}', accept)
    assert (answer.status_code, code(answer)) == (429, "RATE_LIMITED")
    assert answer.json()["errors"][0]["extensions"] == {
        "code": "RATE_LIMITED",
        "retryable": True,
        "retryAfter": 0.4,
    }
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["ratelimit"] == '"owner";r=0;t=2'
    assert endpoint.api.store.created == []


async def test_what_can_not_be_counted_passes() -> None:
    answer = await Endpoint(rates=ScriptedRates(None)).ask(KINDS)
    assert answer.json()["data"]
    assert "ratelimit" not in answer.headers


async def test_without_a_limit_nothing_is_told() -> None:
    answer = await Endpoint().ask(KINDS)
    assert not {"ratelimit", "ratelimit-policy"} & set(answer.headers)


async def test_pages_and_what_no_operation_can_come_of_is_not_counted() -> None:
    rates = ScriptedRates(REFUSED)
    endpoint = Endpoint(rates=rates)
    assert (await endpoint.send("GET", headers={"Accept": "text/html"})).status_code == 200
    assert (await endpoint.send("PUT")).status_code == 405
    assert rates.owners == []


async def test_each_subscribe_of_a_socket_counts() -> None:
    rates = ScriptedRates(GRANTED)
    async with socket(Endpoint(rates=rates).app) as peer:
        for number in ("1", "2"):
            peer.subscribe(number, KINDS)
            assert (await peer.answer_to(number))["data"]
        assert rates.owners == ["alice"] * 2
        rates.answer = REFUSED
        peer.subscribe("3", KINDS)
        [error] = await peer.answer_to("3")
        assert error["extensions"]["retryAfter"] == 0.4
        rates.answer = None
        peer.subscribe("3", KINDS)
        peer.subscribe("4", KINDS)
        assert (await peer.answer_to("4"))["data"]


async def test_a_stream_counts_once_and_tells_what_is_left() -> None:
    rates = ScriptedRates(GRANTED)
    endpoint = Endpoint(rates=rates)
    async with stream(endpoint.app, KINDS) as peer:
        assert (b"ratelimit", b'"owner";r=3;t=1') in peer.received[0]["headers"]
    rates.answer = REFUSED
    async with stream(endpoint.app, KINDS) as peer:
        assert peer.status == 429
    assert len(rates.owners) == 2
