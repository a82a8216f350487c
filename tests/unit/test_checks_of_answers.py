"""The checks behind `make fuzz` find what they are there for; else their silence would prove nothing."""

import json
from typing import Any

import pytest

from tests.generated.answers import Finding, check_json
from tests.generated.campaign import WRONG
from tests.generated.frames import CLOSE, Talk, frame, message
from tests.generated.http import Answer, Request, check_answer
from tests.generated.sockets import Heard, check_heard
from tests.tokens import token

ASKED = Request("POST", b"POST /graphql HTTP/1.1\r\n\r\n")
SAID = Talk(b"", (message(type="subscribe", id="1"),), whole=True)


def refusal(message: str = "No.", **extensions: Any) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {"code": "BAD_USER_INPUT", **extensions}}]}


def answer(body: Any, status: int = 400, type: str = "application/json") -> Answer:
    return Answer(status, type, json.dumps(body).encode())


def test_an_answer_as_documented_passes() -> None:
    check_answer(ASKED, answer(refusal()))
    check_answer(ASKED, answer({"data": {"kinds": []}}, 200))


@pytest.mark.parametrize(
    "wrong",
    [
        answer(refusal(), 500),
        answer(refusal(), 503),
        answer(refusal(code="INTERNAL")),
        answer(refusal(code="UNAVAILABLE")),
        answer(refusal(code="UNHEARD_OF")),
        answer(refusal("'NoneType' object has no attribute 'id'")),
        answer(refusal("asyncpg: duplicate key value violates unique constraint")),
        answer(refusal("<gql.viewer.Viewer object at 0x7f00>")),
        answer({"errors": []}),
        answer({"errors": [{"message": "No."}]}),
        answer({"data": None}, 200),
        answer([]),
        answer(refusal(), type="text/plain"),
        Answer(200, "application/json", b'{"data":{"x":NaN}}'),
        Answer(404, "text/plain", b"Not Found"),
        Answer(200, "text/html", b"<html>"),
        Answer(200, "text/event-stream", b"event: next\r\ndata: {}\r\n\r\n"),
    ],
)
def test_an_answer_that_must_not_be_is_found(wrong: Answer) -> None:
    with pytest.raises(Finding):
        check_answer(ASKED, wrong)


def test_what_the_client_said_itself_may_come_back_but_not_its_token() -> None:
    echoed = json.dumps(refusal("Unknown argument 'asyncpg'."))
    check_json(echoed, "query {kinds(asyncpg: 1)}")
    with pytest.raises(Finding):
        check_json(echoed, "query {kinds}")
    with pytest.raises(Finding, match="repeats a token"):
        check_json(json.dumps(refusal(token())), f"Authorization: Bearer {token()}")


@pytest.mark.parametrize(
    "heard",
    [
        Heard(close=(1011).to_bytes(2, "big")),
        Heard(close=(4499).to_bytes(2, "big") + b"why"),
        Heard(messages=['{"type":"next","id":"2","payload":{"data":{}}}']),
        Heard(messages=['{"type":"error","id":"1","payload":[]}']),
        Heard(messages=['{"type":"hello"}']),
    ],
)
def test_what_no_server_says_over_a_socket_is_found(heard: Heard) -> None:
    with pytest.raises(Finding):
        check_heard(SAID, heard)


def test_a_close_code_that_the_client_sent_may_come_back() -> None:
    heard = Heard(close=(3000).to_bytes(2, "big"))
    check_heard(Talk(b"", (frame((3000).to_bytes(2, "big"), CLOSE),), whole=True), heard)
    with pytest.raises(Finding):
        check_heard(SAID, heard)


@pytest.mark.parametrize(
    ("line", "is_wrong"),
    [
        ("2026-11-22 09:30:00,000 ERROR gql.errors: Answered INTERNAL", True),
        ("Traceback (most recent call last):", True),
        ("RuntimeWarning: coroutine 'x' was never awaited", True),
        (f"2026-11-22 09:30:00,000 INFO gql: {token()}", True),
        ("2026-11-22 09:30:00,000 WARNING uvicorn.error: Invalid HTTP request received.", False),
    ],
)
def test_a_log_that_has_what_no_log_should_have_is_found(line: str, is_wrong: bool) -> None:
    assert bool(WRONG.search(f"before\n{line}\n")) is is_wrong
