"""The page of error codes against the code: none is missing, and each answers some real request."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest

from gql.answers import STATUSES
from gql.authentication import Bearers
from gql.enums import UserErrorCode
from gql.errors import ErrorCode
from gql.keys import secret_key
from gql.limits import Limits
from gql.protocol import CloseCode
from gql.watch_tokens import WatchTokens
from taskql.errors import Unavailable
from taskql.failures import OWN_CODES
from taskql.lifecycle import TaskStatus
from taskql.limits import MEBIBYTE
from taskql.ports import Allowance
from tests.deployment import ROOT
from tests.unit.endpoint import GRAPHQL, Endpoint
from tests.unit.stage import staged
from tests.unit.stub_api import MISSING_ID, STORED, TASK_ID, stub_secret

PAGE = (ROOT / "docs" / "errors.md").read_text()
ROW = re.compile(r"^\| `?([A-Z_]+|\d{3,4})`? \|(.*)\|$", re.MULTILINE)
FROM_THE_SERVER = {1009}
"""Close codes that are uvicorn's to send."""
SECRET = "a secret of thirty-two bytes or more"
ONE_TASK = f'{{ task(id: "{TASK_ID}") {{ id }} }}'
MANY_FIELDS = " ".join(f"f{number}: __typename kinds{number}: kinds {{ name }}" for number in range(31))


def table(heading: str) -> dict[str, list[str]]:
    """The rows below a heading: the other cells by the code in the first."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0].split("\n### ", 1)[0]
    return {code: [cell.strip() for cell in rest.split("|")] for code, rest in ROW.findall(section)}


def test_every_top_level_code_is_on_the_page_with_its_status() -> None:
    rows = table("Codes of `errors`")
    assert rows.keys() == {code.value for code in ErrorCode}
    assert {code: int(cells[0]) for code, cells in rows.items()} == {
        code.value: status for code, status in STATUSES.items()
    }


def test_every_code_of_user_errors_is_on_the_page() -> None:
    assert table("Codes of `userErrors`").keys() == {code.value for code in UserErrorCode}


def test_every_code_of_failures_is_on_the_page() -> None:
    assert table("Codes of `task.failure`").keys() == OWN_CODES


def test_every_close_code_is_on_the_page() -> None:
    assert {int(code) for code in table("Close codes of WebSockets")} == {*CloseCode} | FROM_THE_SERVER


def test_every_row_says_when_what_and_whether_to_try_again() -> None:
    for heading in ("Codes of `errors`", "Codes of `userErrors`", "Close codes of WebSockets"):
        for cells in table(heading).values():
            assert all(cells), cells


# ---------------------------------------------------------------- each one from a real request


class Empty:
    """A bucket that is empty."""

    async def take(self, owner: str) -> Allowance:
        return Allowance(False, 0, 1.5, 10.0, 10, 100)


def bearers() -> Bearers:
    return Bearers(secret_key(SECRET, ["HS256"]), WatchTokens(stub_secret))


def read_token() -> str:
    claims = {"sub": "alice", "scope": "tasks:read", "exp": int(time.time()) + 60}
    return jwt.encode(claims, SECRET, "HS256")


async def asked(endpoint: Endpoint, query: str = ONE_TASK, **headers: str) -> Any:
    return await endpoint.send(json={"query": query}, headers={"Accept": GRAPHQL, **headers})


async def bad_user_input() -> Any:
    return await asked(Endpoint(), "{ nowhere }")


async def unauthenticated() -> Any:
    return await asked(Endpoint(authenticator=bearers()))


async def forbidden() -> Any:
    query = 'mutation { createTask(input: {title: "a"}) { created } }'
    return await asked(Endpoint(authenticator=bearers()), query, Authorization=f"Bearer {read_token()}")


async def not_found() -> Any:
    async with staged() as stage:
        query = f'subscription {{ taskStatus(id: "{MISSING_ID}") {{ id }} }}'
        return await asked(Endpoint(hub=stage.hub), query, Accept="text/event-stream")


async def rate_limited() -> Any:
    return await asked(Endpoint(rates=Empty()))


async def too_complex() -> Any:
    return await asked(Endpoint(), f"{{ {MANY_FIELDS} }}")


async def too_large() -> Any:
    return await Endpoint().post(b" " * (MEBIBYTE + 1), Accept=GRAPHQL)


async def timeout() -> Any:
    endpoint = Endpoint(limits=Limits(operation_seconds=0.01))
    endpoint.api.store.fetch = lambda *_: asyncio.Event().wait()  # type: ignore[method-assign, assignment]
    return await asked(endpoint)


async def unavailable() -> Any:
    endpoint = Endpoint()
    endpoint.api.store.failure = Unavailable("away")
    return await asked(endpoint)


async def outdated() -> Any:
    endpoint = Endpoint()
    endpoint.api.store.task = replace(STORED, status=TaskStatus.COMPLETED, result={"former": 1})
    return await asked(endpoint, f'{{ task(id: "{TASK_ID}") {{ result {{ __typename }} }} }}')


async def internal() -> Any:
    endpoint = Endpoint()
    endpoint.api.store.failure = RuntimeError("secret")
    return await asked(endpoint)


EXAMPLES: dict[ErrorCode, Callable[[], Awaitable[Any]]] = {
    ErrorCode.BAD_USER_INPUT: bad_user_input,
    ErrorCode.UNAUTHENTICATED: unauthenticated,
    ErrorCode.FORBIDDEN: forbidden,
    ErrorCode.NOT_FOUND: not_found,
    ErrorCode.RATE_LIMITED: rate_limited,
    ErrorCode.TOO_COMPLEX: too_complex,
    ErrorCode.TOO_LARGE: too_large,
    ErrorCode.TIMEOUT: timeout,
    ErrorCode.UNAVAILABLE: unavailable,
    ErrorCode.OUTDATED: outdated,
    ErrorCode.INTERNAL: internal,
}
WITH_DATA = {ErrorCode.NOT_FOUND, ErrorCode.UNAVAILABLE, ErrorCode.OUTDATED, ErrorCode.INTERNAL}
"""Those whose examples are of one field, beside which others may have worked."""


@pytest.mark.parametrize("code", ErrorCode)
async def test_code_is_what_a_request_is_answered_with(code: ErrorCode) -> None:
    answer = await EXAMPLES[code]()
    assert f'"code":"{code}"' in answer.text
    assert answer.status_code == (200 if code in WITH_DATA else STATUSES[code])


async def test_client_that_asks_too_often_is_told_how_long_to_wait() -> None:
    answer = await rate_limited()
    assert answer.headers["retry-after"] == "2"
    assert answer.json()["errors"][0]["extensions"]["retryAfter"] == 1.5
