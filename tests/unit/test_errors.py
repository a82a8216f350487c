"""What clients see of errors, and what they don't."""

import logging
from dataclasses import replace
from typing import Any

import pytest
from graphql import GraphQLError

from gql.errors import format_error, presented
from taskql.errors import NotFound, Unavailable
from taskql.lifecycle import TaskStatus
from tests.unit.stub_api import MISSING_ID, STORED, TASK_ID, StubApi, StubHub, code, viewer

ONE_TASK = f'{{task(id: "{TASK_ID}") {{id}}}}'
WATCH = "subscription ($id: ID!, $after: Int) {watched: taskStatus(id: $id, afterVersion: $after) {version}}"


async def test_unforeseen_error_is_masked_and_logged_under_the_same_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = StubApi()
    api.store.failure = RuntimeError("secret db password")
    error = await api.error(ONE_TASK)
    assert code(error) == "INTERNAL"
    assert "secret" not in str(error)
    assert error["path"] == ["task"]
    assert error["locations"] == [{"line": 1, "column": 2}]
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert error["extensions"]["id"] in record.getMessage()
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "secret db password"


async def test_every_incident_has_an_id_of_its_own() -> None:
    api = StubApi()
    api.store.failure = RuntimeError()
    ids = {(await api.error(ONE_TASK))["extensions"]["id"] for _ in range(3)}
    assert len(ids) == 3


async def test_outage_is_unavailable_and_retryable_and_tells_nothing_of_its_cause() -> None:
    api = StubApi()
    api.store.failure = Unavailable("connection to db.internal:5432 refused")
    error = await api.error(ONE_TASK)
    assert error["extensions"] == {"code": "UNAVAILABLE", "retryable": True}
    assert "db.internal" not in error["message"]


async def test_outage_during_a_mutation_is_a_top_level_error() -> None:
    api = StubApi()
    api.store.failure = Unavailable("away")
    assert code(await api.error('mutation {createTask(input: {title: "a"}) {created}}')) == "UNAVAILABLE"


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "{tasks {nodes {id}}",
        "{nothing}",
        "{task {id}}",
        "{task(id: 1.5) {id}}",
        "query ($id: ID!) {task(id: $id) {id}}",
        "{tasks(orderBy: SIDEWAYS) {nodes {id}}}",
        "mutation {createTask(input: {}) {created}}",
        'mutation {createTask(input: {title: "a", work: {}}) {created}}',
        'mutation {createTask(input: {title: "a", work: {process: {}, fail: {}}}) {created}}',
        'mutation {createTask(input: {title: "a", work: {process: null}}) {created}}',
        'mutation {createTask(input: {title: "a", work: {compute: {numbers: ["1"]}}}) {created}}',
        'mutation {createTask(input: {title: "a", work: {compute: {numbers: [null]}}}) {created}}',
        "query A {kinds {name}} query A {kinds {name}}",
        "{...A} fragment A on Query {...A}",
        '{task(id: "\ud800") {id}}',
        "{\ud800}",
    ],
)
async def test_a_request_that_makes_no_sense_is_bad_user_input(document: str) -> None:
    result = await StubApi().execute(document)
    assert result.errors
    for error in result.errors:
        assert code(dict(error.formatted)) == "BAD_USER_INPUT"
        assert error.formatted["locations"]
        error.message.encode()


@pytest.mark.parametrize(
    "work",
    [
        {},
        {"process": {}, "fail": {}},
        {"process": None},
        {"nope": {}},
        {"compute": {"numbers": [float("inf")]}},
        {"compute": {"numbers": [float("nan")]}},
        {"compute": {"numbers": [10**400]}},
        {"compute": {"numbers": [True]}},
        {"compute": {"numbers": {}}},
        {"compute": []},
        {"countdown": {"steps": 2**31}},
        {"countdown": {"steps": 1.5}},
        {"reverse": {"inputData": 1}},
        {"reverse": {}},
    ],
)
async def test_a_variable_of_the_wrong_type_is_bad_user_input(work: Any) -> None:
    result = await StubApi().execute(
        'mutation ($work: TaskWorkInput) {createTask(input: {title: "a", work: $work}) {created}}', work=work
    )
    assert result.errors
    assert {code(dict(error.formatted)) for error in result.errors} == {"BAD_USER_INPUT"}


@pytest.mark.parametrize(
    "malformed",
    [
        "abc",
        "",
        "1",
        TASK_ID.hex,
        f"{{{TASK_ID}}}",
        f"urn:uuid:{TASK_ID}",
        f" {TASK_ID}",
        f"{TASK_ID}\n",
        str(TASK_ID)[:-1] + "٣",
        "x" * 10_000,
        "\x00",
        "\ud800",
    ],
)
async def test_malformed_id_is_bad_user_input_wherever_it_is_given(malformed: str) -> None:
    api = StubApi()
    for document in (
        "query ($id: ID!) {task(id: $id) {id}}",
        "query ($id: ID!) {node(id: $id) {id}}",
        "query ($id: ID!) {nodes(ids: [$id]) {id}}",
    ):
        error = await api.error(document, id=malformed)
        assert code(error) == "BAD_USER_INPUT"
        assert "is not a task id; ids look like " in error["message"]
        assert len(error["message"].encode()) < 500
    [result] = await api.stream(WATCH, id=malformed)
    assert result.errors is not None
    assert code(dict(result.errors[0].formatted)) == "BAD_USER_INPUT"


async def test_ids_are_taken_in_capitals_too() -> None:
    assert await StubApi().data(f'{{task(id: "{str(TASK_ID).upper()}") {{id}}}}') == {
        "task": {"id": str(TASK_ID)}
    }


async def test_missing_and_foreign_tasks_are_null_alike() -> None:
    api = StubApi()
    assert await api.data(f'{{task(id: "{MISSING_ID}") {{id}} node(id: "{MISSING_ID}") {{id}}}}') == {
        "task": None,
        "node": None,
    }
    api.context = replace(api.context, viewer=viewer("bob"))
    assert await api.data(ONE_TASK) == {"task": None}


async def test_nodes_come_in_the_order_asked_for_with_null_for_what_is_missing() -> None:
    data = await StubApi().data(
        f'{{nodes(ids: ["{TASK_ID}", "{MISSING_ID}", "{TASK_ID}"]) {{__typename id ... on Task {{title}}}}}}'
    )
    task = {"__typename": "Task", "id": str(TASK_ID), "title": "a title"}
    assert data["nodes"] == [task, None, task]


async def test_more_than_a_hundred_ids_are_refused() -> None:
    error = await StubApi().error("query ($ids: [ID!]!) {nodes(ids: $ids) {id}}", ids=[str(TASK_ID)] * 101)
    assert code(error) == "BAD_USER_INPUT"


async def test_stream_of_a_missing_task_is_one_result_with_not_found() -> None:
    api = StubApi(hub=StubHub(failure=NotFound(f"There is no task {MISSING_ID}, or it is not yours.")))
    [result] = await api.stream(WATCH, id=str(MISSING_ID))
    assert result.errors is not None
    assert result.errors[0].formatted == {
        "message": f"There is no task {MISSING_ID}, or it is not yours.",
        "locations": [{"line": 1, "column": 39}],
        "path": ["watched"],
        "extensions": {"code": "NOT_FOUND"},
    }


async def test_stream_that_breaks_ends_with_a_presented_error() -> None:
    api = StubApi(hub=StubHub(states=[STORED], failure=RuntimeError("secret")))
    first, last = await api.stream(WATCH, id=str(TASK_ID))
    assert (first.data, first.errors) == ({"watched": {"version": 1}}, None)
    assert last.errors is not None
    assert code(dict(last.errors[0].formatted)) == "INTERNAL"
    assert "secret" not in last.errors[0].message


async def test_stream_passes_on_what_the_hub_tells_and_what_the_client_has() -> None:
    hub = StubHub(states=[STORED, STORED.at(STORED)])
    results = await StubApi(hub=hub).stream(WATCH, id=str(TASK_ID), after=4)
    assert [result.data for result in results] == [{"watched": {"version": 1}}] * 2
    assert hub.asked == [("alice", TASK_ID, 4)]
    assert hub.closed


async def test_a_watcher_that_leaves_releases_the_hub_at_once() -> None:
    api = StubApi(hub=StubHub(states=[STORED, STORED]))
    results = await api.schema.subscribe(WATCH, {"id": str(TASK_ID)}, api.context)
    await anext(results)
    await results.aclose()
    assert api.hub.closed


async def test_document_that_can_not_be_streamed_is_presented_too() -> None:
    for document in ("subscription {", "subscription {nothing}"):
        [result] = await StubApi().stream(document)
        assert result.errors is not None
        assert code(dict(result.errors[0].formatted)) == "BAD_USER_INPUT"
    [unknown] = [
        result
        async for result in await StubApi().schema.stream("query A {kinds {name}}", operation_name="B")
        if hasattr(result, "errors")
    ]
    assert unknown.errors
    assert code(dict(unknown.errors[0].formatted)) == "BAD_USER_INPUT"


async def test_result_that_does_not_fit_its_type_is_told_as_outdated() -> None:
    api = StubApi()
    api.store.task = type(STORED)(
        **{name: getattr(STORED, name) for name in STORED.__dataclass_fields__}
        | {"kind": "countdown", "status": TaskStatus.COMPLETED, "result": {"steps": 2**31}}
    )
    error = await api.error(f'{{task(id: "{TASK_ID}") {{result {{... on CountdownResult {{steps}}}}}}}}')
    assert code(error) == "OUTDATED"


def test_presenting_twice_changes_nothing() -> None:
    once = presented(GraphQLError("x", original_error=RuntimeError()))
    assert presented(once) is once
    assert format_error(once) == once.formatted
