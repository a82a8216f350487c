"""Requests as clients send them, with something in them that no client sends."""

import copy
from typing import Any

from hypothesis import strategies as st

from tests.generated.doors import as_json, odd_values

CREATE = (
    "mutation Create($input: CreateTaskInput!) { createTask(input: $input) { created task { id title "
    "kind status priority tags input runAt orderingKey } userErrors { code field message } } }"
)
CREATE_MANY = (
    "mutation Many($input: CreateTasksInput!) { createTasks(input: $input) { results { task { id } "
    "userErrors { code field message } } userErrors { code field message } } }"
)
LIST = (
    "query List($filter: TaskFilter, $orderBy: TaskOrder! = CREATED_AT_DESC, $first: Int, $after: "
    "String, $last: Int, $before: String) { tasks(filter: $filter, orderBy: $orderBy, first: $first, "
    "after: $after, last: $last, before: $before) { totalCount asOf nodes { id title tags result { "
    "__typename } failure { code message } } pageInfo { hasNextPage endCursor } } }"
)
MEND = (
    "mutation Mend($cancel: CancelTaskInput!, $retry: RetryTaskInput!, $redrive: RedriveTasksInput!, "
    "$token: CreateWatchTokenInput!) { cancelTask(input: $cancel) { task { id } userErrors { code "
    "message } } retryTask(input: $retry) { userErrors { code message } } redriveTasks(input: $redrive) "
    "{ matched } createWatchToken(input: $token) { expiresAt userErrors { code message } } }"
)
LOOK = (
    "query Look($id: ID!, $ids: [ID!]!, $first: Int, $after: String) { task(id: $id) { id attempts { "
    "number } } node(id: $id) { id } nodes(ids: $ids) { id } deadLetters(first: $first, after: $after) "
    "{ nodes { reason } } }"
)
WATCH = (
    "subscription Watch($id: ID!, $afterVersion: Int) { taskStatus(id: $id, afterVersion: "
    "$afterVersion) { id version status progress { fraction message } result { __typename } } }"
)
FOLLOW = "subscription Follow($filter: TaskFilter) { taskUpdates(filter: $filter) { id status } }"
FULL_FILTER = {
    "status": ["PENDING", "FAILED"],
    "kind": ["compute"],
    "tags": ["a"],
    "priority": ["HIGH"],
    "createdAfter": "2026-01-01T00:00:00Z",
    "createdBefore": "2027-01-01T00:00:00+01:00",
    "updatedAfter": "2026-01-01T00:00:00.000001Z",
    "orderingKey": "k",
}
FULL_TASK = {
    "title": "Totals",
    "description": "of the month",
    "work": {"compute": {"numbers": [1, 2.5], "simulateSeconds": 0}},
    "priority": "NORMAL",
    "runAt": "2026-11-22T09:30:00Z",
    "expiresAt": "2999-01-01T00:00:00Z",
    "idempotencyKey": "once",
    "orderingKey": "k",
    "tags": ["a", "b"],
}


def valid_payloads(known: list[str]) -> list[dict[str, Any]]:
    """What the API does for its clients, with most of what can be said."""
    id = known[0]
    said = [
        (CREATE, {"input": FULL_TASK}),
        (CREATE, {"input": {"title": "Text", "work": {"transform": {"text": "a b c"}}}}),
        (CREATE_MANY, {"input": {"tasks": [FULL_TASK, {"title": "Plain"}]}}),
        (LIST, {"filter": FULL_FILTER, "orderBy": "CREATED_AT_ASC", "first": 5, "after": None}),
        (LIST, {"last": 2, "before": "e30="}),
        (MEND, {"cancel": {"id": id}, "retry": {"id": id}, "redrive": {"filter": FULL_FILTER, "limit": 1,
                "dryRun": True}, "token": {"id": id, "ttlSeconds": 60}}),
        (LOOK, {"id": id, "ids": known, "first": 2, "after": None}),
        (WATCH, {"id": id, "afterVersion": 0}),
        (FOLLOW, {"filter": FULL_FILTER}),
        ("{}", {}),
        ("subscription Bare($id: ID!) { taskStatus(id: $id) {} }", {"id": id}),
    ]  # fmt: skip
    return [
        {"query": query, "variables": variables, "operationName": None, "extensions": {}}
        for query, variables in said
    ]


@st.composite
def payloads(draw: st.DrawFn, known: list[str]) -> Any:
    """A valid request in which up to three values, members or names are something else."""
    payload = copy.deepcopy(draw(st.sampled_from(valid_payloads(known))))
    for _ in range(draw(st.integers(0, 3))):
        change(draw, payload)
    return payload


def change(draw: st.DrawFn, payload: Any) -> None:
    """Put something odd somewhere within."""
    while True:
        key = draw(st.sampled_from(list(payload) if isinstance(payload, dict) else range(len(payload))))
        inner = payload[key]
        if not (isinstance(inner, dict | list) and inner) or draw(st.integers(0, 4)) == 0:
            break
        payload = inner
    match draw(st.sampled_from(["odd", "odd", "odd", "drop", "rename", "twist"])):
        case "drop":
            del payload[key]
        case "rename" if isinstance(payload, dict):
            payload[draw(st.text(max_size=5))] = payload.pop(key)
        case "twist" if isinstance(inner, str):
            at = draw(st.integers(0, len(inner)))
            payload[key] = inner[:at] + draw(st.text(max_size=4)) + inner[at + draw(st.integers(0, 4)) :]
        case _:
            payload[key] = draw(odd_values())
    if not payload:  # the next change needs a place
        payload.append(None) if isinstance(payload, list) else payload.update(query=None)


@st.composite
def bodies(draw: st.DrawFn, known: list[str]) -> bytes:
    """Bytes of a body: most are JSON, of the right form or another."""
    match draw(st.sampled_from(["payload"] * 6 + ["odd", "bytes", "mangled", "deep", "long"])):
        case "payload":
            return as_json(draw(payloads(known)))
        case "odd":
            return as_json(draw(odd_values()))
        case "bytes":
            return draw(st.binary(max_size=60))
        case "mangled":
            body = as_json(draw(payloads(known)))
            at = draw(st.integers(0, len(body)))
            return body[:at] + draw(st.binary(max_size=4)) + body[at + draw(st.integers(0, 4)) :]
        case "deep":
            return draw(deep())
        case _:
            return draw(st.sampled_from([b" " * 2_000_000, b'{"query":"' + b"x" * 1_100_000, b"9" * 6_000]))


@st.composite
def deep(draw: st.DrawFn) -> bytes:
    """JSON or a document that is nested deeply, closed or not."""
    levels = draw(st.sampled_from([50, 99, 101, 1_000, 100_000]))
    opening, closing = draw(st.sampled_from([("[", "]"), ('{"a":', "}"), ("{nodes", "}"), ("(x:[", "])")]))
    nested = (
        opening * levels + draw(st.sampled_from(["", "1"])) + draw(st.sampled_from([closing, ""])) * levels
    )
    shape = draw(st.sampled_from(["raw", "variables", "query", "extensions"]))
    if shape == "raw":
        return nested.encode()
    if shape == "query":
        return as_json({"query": "{tasks" + nested})
    return b'{"query":"{kinds{name}}","%b":{"x":%b}}' % (shape.encode(), nested.encode())
