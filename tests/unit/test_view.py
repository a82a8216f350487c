"""GraphQL over HTTP as the view answers it, request by request, without a server or services."""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.datastructures import Headers

from gql.errors import Unauthenticated
from gql.origins import Origins
from gql.view import GraphQLView
from taskql.errors import Unavailable
from taskql.limits import MEBIBYTE
from tests.unit.endpoint import GRAPHQL, JSON, Endpoint, code
from tests.unit.stub_api import TASK_ID

ONE_TASK = f'{{ task(id: "{TASK_ID}") {{ id }} }}'
PAGE = "https://app.example.com"


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


# ---------------------------------------------------------------- media types

FAULTY = {
    "syntax": {"query": "{"},
    "validation": {"query": "{ nowhere }"},
    "variables": {"query": "query ($id: ID!) { task(id: $id) { id } }"},
    "an unknown operation": {"query": "query A { __typename }", "operationName": "B"},
    "an ambiguous operation": {"query": "query A { __typename } query B { __typename }"},
    "no operation": {"query": "fragment F on Query { __typename }"},
}


@pytest.mark.parametrize("body", FAULTY.values(), ids=FAULTY)
@pytest.mark.parametrize(("accept", "status"), [(JSON, 200), (GRAPHQL, 400)])
async def test_request_error_is_told_as_the_media_type_has_it(
    endpoint: Endpoint, body: dict[str, Any], accept: str, status: int
) -> None:
    answer = await endpoint.send(json=body, headers={"Accept": accept})
    assert (answer.status_code, code(answer)) == (status, "BAD_USER_INPUT")
    assert answer.headers["content-type"] == f"{accept}; charset=utf-8"


@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
async def test_execution_error_leaves_data_and_status_alone(endpoint: Endpoint, accept: str) -> None:
    endpoint.api.store.failure = Unavailable("away")
    answer = await endpoint.ask(ONE_TASK, accept)
    assert answer.status_code == 200
    assert answer.json()["data"] == {"task": None}
    answer = await endpoint.ask('mutation { createTask(input: {title: "a"}) { created } }', accept)
    assert answer.status_code == 200
    assert answer.json()["data"] is None
    assert answer.json()["errors"][0]["extensions"]["code"] == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (GRAPHQL.upper(), GRAPHQL),
        (f"{JSON}, {GRAPHQL}", JSON),
        (f"{GRAPHQL}, {JSON}", GRAPHQL),
        (f"{JSON};q=0.5, {GRAPHQL};q=0.9", GRAPHQL),
        (f"text/html, {GRAPHQL}; charset=utf-8;q=0.1", GRAPHQL),
        (f"{GRAPHQL};q=0, */*", JSON),
        (f"{GRAPHQL}, application/graphql+json, {JSON}, text/event-stream, multipart/mixed", GRAPHQL),
    ],
)
async def test_accept_chooses_the_media_type(endpoint: Endpoint, accept: str, kind: str) -> None:
    answer = await endpoint.ask("{ __typename }", accept)
    assert answer.json()["data"] == {"__typename": "Query"}
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"


@pytest.mark.parametrize("accept", ["text/html", "image/png, text/*", f"{JSON};q=0", f"{JSON};q=x", ";;,,"])
async def test_client_that_takes_nothing_we_have_is_told_what_we_have(
    endpoint: Endpoint, accept: str
) -> None:
    answer = await endpoint.ask("{ __typename }", accept)
    assert (answer.status_code, code(answer)) == (406, "BAD_USER_INPUT")
    assert GRAPHQL in answer.text


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    "content_type", [JSON, "Application/JSON; charset=UTF-8", f'{JSON};charset="utf8";x']
)
async def test_json_may_be_called_json_in_any_way(endpoint: Endpoint, content_type: str) -> None:
    answer = await endpoint.post(b'{"query": "{ __typename }"}', content_type, Content_Encoding="identity")
    assert answer.json()["data"] == {"__typename": "Query"}


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/plain; charset=application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/graphql",
        "application/jsonp",
        "application/json; charset=latin-1",
    ],
)
async def test_body_of_another_kind_is_refused_as_pages_elsewhere_could_send_it(
    endpoint: Endpoint, content_type: str
) -> None:
    answer = await endpoint.post(b'{"query": "{ __typename }"}', content_type)
    assert (answer.status_code, code(answer)) == (415, "BAD_USER_INPUT")


async def test_compressed_body_is_refused(endpoint: Endpoint) -> None:
    body = gzip.compress(b'{"query": "{ __typename }"}')
    answer = await endpoint.post(body, Content_Encoding="gzip")
    assert (answer.status_code, code(answer)) == (415, "BAD_USER_INPUT")
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"query": "{ __typename }"}',
        '{"query": "{ __typename }"}'.encode("utf-16"),
        b'{"query": "{ __typename }"} {}',
        b'{"query": "{ __typename }",}',
        b"{'query': '{ __typename }'}",
        b'{"query": "{ __typename }", "variables": "{}"}',
        b'{"query": ["{ __typename }"]}',
        b'{"variables": ' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
    ],
    ids=lambda body: repr(body[:60]),
)
async def test_body_that_is_nearly_a_request_is_refused(endpoint: Endpoint, body: bytes) -> None:
    answer = await endpoint.post(body)
    assert (answer.status_code, code(answer)) == (400, "BAD_USER_INPUT")


@pytest.mark.parametrize("params", [{}, {"query": ""}, {"query": " "}, {"variables": "{}"}])
async def test_get_without_a_query_is_refused(endpoint: Endpoint, params: dict[str, str]) -> None:
    answer = await endpoint.send("GET", params=params)
    assert (answer.status_code, code(answer)) == (400, "BAD_USER_INPUT")


async def test_get_needs_no_content_type_and_minds_none(endpoint: Endpoint) -> None:
    answer = await endpoint.send(
        "GET", params={"query": "{ __typename }"}, headers={"Content-Type": "text/plain"}
    )
    assert answer.json()["data"] == {"__typename": "Query"}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
async def test_other_methods_are_told_which_there_are(endpoint: Endpoint, method: str) -> None:
    answer = await endpoint.send(method)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


@pytest.mark.parametrize("accept", [JSON, GRAPHQL])
async def test_mutation_by_get_is_refused_and_does_nothing(endpoint: Endpoint, accept: str) -> None:
    query = 'mutation { createTask(input: {title: "a", work: {process: {}}}) { created } }'
    answer = await endpoint.send("GET", params={"query": query}, headers={"Accept": accept})
    assert (answer.status_code, code(answer)) == (405, "BAD_USER_INPUT")
    assert answer.headers["allow"] == "POST"
    assert endpoint.api.store.created == []


async def test_transport_errors_come_as_the_media_type_asked_for(endpoint: Endpoint) -> None:
    answer = await endpoint.send(content=b"5", headers={"Accept": GRAPHQL, "Content-Type": JSON})
    assert answer.headers["content-type"] == f"{GRAPHQL}; charset=utf-8"


async def test_answers_are_not_kept(endpoint: Endpoint) -> None:
    for answer in (await endpoint.ask("{ __typename }"), await endpoint.post(b"5")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["vary"] == "Accept, Authorization"


# ---------------------------------------------------------------- how much


async def test_address_that_is_too_long_is_refused(endpoint: Endpoint) -> None:
    answer = await endpoint.send("GET", params={"query": "{ __typename }" + " " * 32_768})
    assert (answer.status_code, code(answer)) == (414, "TOO_LARGE")


async def test_body_that_is_too_large_is_refused_however_it_comes(endpoint: Endpoint) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(1025):
            yield b" " * 1024

    for body in (b" " * (MEBIBYTE + 1), chunks()):
        answer = await endpoint.send(content=body, headers={"Content-Type": JSON})
        assert (answer.status_code, code(answer)) == (413, "TOO_LARGE")


CREATE_TASKS = "mutation ($input: CreateTasksInput!) { createTasks(input: $input) { userErrors { code } } }"


@pytest.mark.parametrize(
    ("tasks", "place"),
    [
        ([{"title": ""}] * 70_000, "`variables.input.tasks`"),
        ([[[[]]]] * 10_000, "`variables.input.tasks."),
        (
            [{"work": {"compute": {"numbers": [1] * 131_073}}}],
            "tasks.0.work.compute.numbers`",
        ),
    ],
    ids=["objects", "lists", "numbers"],
)
async def test_variables_that_would_take_seconds_to_check_are_refused_before(
    endpoint: Endpoint, tasks: list[Any], place: str
) -> None:
    answer = await endpoint.ask(CREATE_TASKS, variables={"input": {"tasks": tasks}})
    assert (answer.status_code, code(answer)) == (413, "TOO_LARGE")
    assert place in answer.json()["errors"][0]["message"]


async def test_a_mebibyte_of_numbers_is_no_bulk(endpoint: Endpoint) -> None:
    numbers = [1] * 60_000
    tasks = [{"title": "a", "work": {"compute": {"numbers": numbers}}}] * 4
    body = json.dumps({"query": CREATE_TASKS, "variables": {"input": {"tasks": tasks}}})
    assert 2**19 < len(body) < 2**20
    assert "data" in (await endpoint.post(body.encode())).json()


# ---------------------------------------------------------------- who asks


@pytest.mark.parametrize(
    ("token_given", "challenge"), [(False, "Bearer"), (True, 'Bearer error="invalid_token"')]
)
@pytest.mark.parametrize("accept", [JSON, GRAPHQL, "text/event-stream"])
async def test_stranger_is_told_so_before_anything_else(
    endpoint: Endpoint, token_given: bool, challenge: str, accept: str
) -> None:
    endpoint.refusal = Unauthenticated("Send a token.", token_given=token_given)
    answer = await endpoint.ask("{", accept)
    assert (answer.status_code, code(answer)) == (401, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"] == challenge


async def test_browser_gets_its_page_whoever_asks(endpoint: Endpoint) -> None:
    endpoint.refusal = Unauthenticated("Send a token.")
    answer = await endpoint.send("GET", headers={"Accept": "text/html,*/*;q=0.8"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")


async def test_what_nobody_foresaw_is_a_500_without_its_text(endpoint: Endpoint) -> None:
    endpoint.refusal = RuntimeError("secret db password")
    answer = await endpoint.ask("{ __typename }")
    assert (answer.status_code, code(answer)) == (500, "INTERNAL")
    assert "secret" not in answer.text


# ---------------------------------------------------------------- pages elsewhere


async def test_page_elsewhere_reads_nothing_unless_it_is_named(endpoint: Endpoint) -> None:
    answer = await endpoint.send(json={"query": "{ __typename }"}, headers={"Origin": PAGE})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    assert (await endpoint.send("OPTIONS", headers=asked)).status_code == 405


async def test_named_page_may_ask_and_read_the_limits() -> None:
    endpoint = Endpoint(PAGE)
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, traceparent",
    }
    preflight = await endpoint.send("OPTIONS", headers=asked)
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, PAGE)
    answer = await endpoint.send(json={"query": "{ __typename }"}, headers={"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["vary"] == "Accept, Authorization, Origin"


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example.com", f"{PAGE}.evil.com", "http://app.example.com", f"{PAGE}:8443", "null"],
)
async def test_other_pages_may_not(origin: str) -> None:
    endpoint = Endpoint(PAGE)
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert (await endpoint.send("OPTIONS", headers=asked)).status_code == 400
    answer = await endpoint.send(json={"query": "{ __typename }"}, headers={"Origin": origin})
    assert "access-control-allow-origin" not in answer.headers


async def test_every_page_may_where_all_are_named_but_never_with_cookies() -> None:
    answer = await Endpoint("*").send(json={"query": "{ __typename }"}, headers={"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


def test_nothing_stands_before_the_view_where_no_origin_is_named() -> None:
    assert isinstance(Endpoint().app, GraphQLView)


@pytest.mark.parametrize(
    ("origin", "host", "welcome"),
    [
        (None, "api.example.com", True),
        ("https://api.example.com", "api.example.com", True),
        (PAGE, "api.example.com", True),
        (f"{PAGE}:443", "api.example.com", True),
        ("http://localhost:5173", "127.0.0.1:8000", True),
        ("http://localhost:5173", "api.example.com", False),
        ("https://evil.example.com", "127.0.0.1:8000", False),
        ("https://localhost.evil.com", "localhost:8000", False),
        (f"{PAGE}.evil.com", "api.example.com", False),
        ("null", "api.example.com", False),
        ("https://[", "api.example.com", False),
    ],
)
def test_socket_is_for_our_own_pages_those_of_this_machine_and_named_ones(
    origin: str | None, host: str, welcome: bool
) -> None:
    handshake = Headers({"host": host} | ({} if origin is None else {"origin": origin}))
    assert Origins([PAGE]).welcome(handshake) is welcome


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "10.0.0.7:80", "a.localhost"])
async def test_api_without_authentication_answers_to_this_machine_s_own_names(host: str) -> None:
    endpoint = Endpoint(here_only=True)
    answer = await endpoint.send(json={"query": "{ __typename }"}, headers={"Host": host})
    assert answer.json()["data"] == {"__typename": "Query"}


@pytest.mark.parametrize(
    "host", ["evil.example.com", "localhost.evil.com", "127.0.0.1.evil.com:8000", "[", ""]
)
async def test_and_not_to_a_name_that_somebody_has_lead_here(host: str) -> None:
    endpoint = Endpoint(PAGE, here_only=True)
    answer = await endpoint.send(json={"query": "{ __typename }"}, headers={"Host": host})
    assert (answer.status_code, code(answer)) == (421, "BAD_USER_INPUT")
    assert "TASKQL_ALLOW_UNAUTHENTICATED" in answer.text


# ---------------------------------------------------------------- streams


STREAM = {"Accept": "text/event-stream"}


async def test_stream_is_told_in_http_what_is_wrong_before_it_begins(endpoint: Endpoint) -> None:
    answer = await endpoint.send(content=b"5", headers={"Content-Type": JSON, **STREAM})
    assert (answer.status_code, code(answer)) == (400, "BAD_USER_INPUT")
    answer = await endpoint.send(content=b"{}", headers={"Content-Type": "text/plain", **STREAM})
    assert (answer.status_code, code(answer)) == (415, "BAD_USER_INPUT")


@pytest.mark.parametrize("body", FAULTY.values(), ids=FAULTY)
async def test_stream_of_a_faulty_operation_is_its_error_and_the_end(
    endpoint: Endpoint, body: dict[str, Any]
) -> None:
    answer = await endpoint.send(json=body, headers=STREAM)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store, no-transform"
    result, complete, rest = answer.text.split("\r\n\r\n")
    refused = json.loads(result.removeprefix("event: next\r\ndata: "))
    assert refused["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert "data" not in refused
    assert (complete, rest) == ("event: complete\r\ndata: ", "")


async def test_stream_by_get_carries_no_mutation(endpoint: Endpoint) -> None:
    query = 'mutation { createTask(input: {title: "a", work: {process: {}}}) { created } }'
    answer = await endpoint.send("GET", params={"query": query}, headers=STREAM)
    assert "A mutation needs a POST request." in answer.text
    assert endpoint.api.store.created == []
