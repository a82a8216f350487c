"""createTasks: an outcome for each task in its place, and one visit to the store for all of them."""

import logging
from typing import Any
from uuid import UUID

import pytest

from taskql.creation import MAX_TASKS_AT_ONCE, request_hash
from taskql.errors import Unavailable
from taskql.ports import Conflict, Existing, NotStored
from tests.unit.stub_api import MISSING_ID, STORED, StubApi, code

CREATE = """
mutation ($input: CreateTasksInput!) {
  createTasks(input: $input) {
    results {created task {title kind} userErrors {code message field}}
    userErrors {code message field}
  }
}
"""
PAST = "2001-01-01T00:00:00Z"


async def create(api: StubApi, tasks: Any) -> dict[str, Any]:
    payload: dict[str, Any] = (await api.data(CREATE, input={"tasks": tasks}))["createTasks"]
    return payload


async def results(api: StubApi, tasks: Any) -> list[dict[str, Any]]:
    """What became of each task, where nothing kept all of them from being stored."""
    payload = await create(api, tasks)
    assert payload["userErrors"] == []
    outcomes: list[dict[str, Any]] = payload["results"]
    return outcomes


def places(result: dict[str, Any]) -> list[tuple[str, ...]]:
    return [tuple(error["field"]) for error in result["userErrors"]]


# ---------------------------------------------------------------- one outcome for each


async def test_tasks_are_stored_together_and_answered_in_the_order_given() -> None:
    api = StubApi()
    answers = await results(api, [{"title": "a"}, {"title": "b", "work": {"reverse": {"inputData": "x"}}}])
    assert answers == [
        {"created": True, "task": {"title": "a", "kind": "process"}, "userErrors": []},
        {"created": True, "task": {"title": "b", "kind": "reverse"}, "userErrors": []},
    ]
    assert api.store.batches == [2]


async def test_what_is_wrong_with_one_task_is_told_in_its_place_and_holds_up_no_other() -> None:
    api = StubApi()
    answers = await results(
        api,
        [
            {"title": "good"},
            {"title": ""},
            {"title": "tags", "tags": ["a", "b", "c", "x" * 65]},
            {"title": "key", "orderingKey": "k", "priority": "HIGH"},
            {"title": "late", "expiresAt": PAST},
            {"title": "work", "work": {"reverse": {"inputData": "\x00"}}},
            {"title": "a\ud800", "idempotencyKey": ""},
            {"title": "as good"},
        ],
    )
    assert [task.title for task in api.store.created] == ["good", "as good"]
    assert api.store.batches == [2]
    assert [answer["created"] for answer in answers] == [True, *[False] * 6, True]
    assert [answer["task"] is None for answer in answers] == [False, *[True] * 6, False]
    assert {error["code"] for answer in answers for error in answer["userErrors"]} == {"INVALID"}
    assert [places(answer) for answer in answers] == [
        [],
        [("input", "tasks", "1", "title")],
        [("input", "tasks", "2", "tags", "3")],
        [("input", "tasks", "3", "priority")],
        [("input", "tasks", "4", "expiresAt")],
        [("input", "tasks", "5", "work", "reverse", "inputData")],
        [("input", "tasks", "6", "title"), ("input", "tasks", "6", "idempotencyKey")],
        [],
    ]


async def test_a_key_that_is_held_is_the_same_task_or_a_conflict() -> None:
    api = StubApi()
    api.store.answers = {"again": Existing(STORED), "other": Conflict(MISSING_ID)}
    new, again, other = await results(
        api, [{"title": title, "idempotencyKey": "k"} for title in ("new", "again", "other")]
    )
    assert (new["created"], again["created"], other["created"]) == (True, False, False)
    assert (again["task"]["title"], again["userErrors"]) == (STORED.title, [])
    [error] = other["userErrors"]
    assert other["task"] is None
    assert (error["code"], error["field"]) == (
        "IDEMPOTENCY_CONFLICT",
        ["input", "tasks", "2", "idempotencyKey"],
    )
    assert str(MISSING_ID) in error["message"]


async def test_a_task_that_could_not_be_stored_is_told_with_an_id_that_the_log_has(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = StubApi()
    api.store.answers = {"odd": NotStored(ValueError("the disk's own words"))}
    with caplog.at_level(logging.ERROR):
        good, odd = await results(api, [{"title": "good"}, {"title": "odd"}])
    assert good["created"]
    assert (odd["created"], odd["task"]) == (False, None)
    [error] = odd["userErrors"]
    assert (error["code"], error["field"]) == ("INVALID", ["input", "tasks", "1"])
    assert "could not be stored" in error["message"]
    assert "disk" not in error["message"]
    [record] = caplog.records
    incident = record.getMessage().split()[-1]
    assert UUID(incident).hex == incident
    assert incident in error["message"]
    assert "the disk's own words" in caplog.text


async def test_an_outage_is_an_error_of_the_request() -> None:
    api = StubApi()
    api.store.failure = Unavailable("away")
    assert code(await api.error(CREATE, input={"tasks": [{"title": "a"}]})) == "UNAVAILABLE"


# ---------------------------------------------------------------- how many


@pytest.mark.parametrize("tasks", [[{"title": "a"}], {"title": "a"}], ids=["a list of one", "one for a list"])
async def test_one_task_is_a_list_of_one(tasks: Any) -> None:
    [answer] = await results(StubApi(), tasks)
    assert answer["created"]


async def test_no_tasks_are_no_mistake() -> None:
    api = StubApi()
    assert await create(api, []) == {"results": [], "userErrors": []}
    assert api.store.batches == []


async def test_so_many_tasks_are_stored_at_one_visit() -> None:
    api = StubApi()
    tasks = [
        {"title": f"task {number}", "idempotencyKey": str(number)} for number in range(MAX_TASKS_AT_ONCE)
    ]
    answers = await results(api, tasks)
    assert [answer["task"]["title"] for answer in answers] == [task["title"] for task in tasks]
    assert api.store.batches == [MAX_TASKS_AT_ONCE]
    assert api.store.looked_up == []


async def test_of_too_many_tasks_none_is_stored() -> None:
    api = StubApi()
    payload = await create(api, [{"title": "a"}] * (MAX_TASKS_AT_ONCE + 1))
    assert payload["results"] == []
    [error] = payload["userErrors"]
    assert (error["code"], error["field"]) == ("INVALID", ["input", "tasks"])
    assert error["message"] == "The field 'tasks' has 501 tasks; the most is 500, so split them up."
    assert api.store.batches == []


async def test_so_many_tasks_fit_into_the_document_itself_if_they_are_small() -> None:
    api = StubApi()
    tasks = '{title: "a"} ' * MAX_TASKS_AT_ONCE
    data = await api.data(f"mutation {{createTasks(input: {{tasks: [{tasks}]}}) {{results {{created}}}}}}")
    assert len(data["createTasks"]["results"]) == MAX_TASKS_AT_ONCE


async def test_a_document_that_says_too_much_is_told_so() -> None:
    tasks = '{title: "a", description: "b", tags: ["c"]} ' * MAX_TASKS_AT_ONCE
    error = await StubApi().error(
        f"mutation {{createTasks(input: {{tasks: [{tasks}]}}) {{results {{created}}}}}}"
    )
    assert code(error) == "TOO_COMPLEX"


async def test_many_tasks_of_the_wrong_shape_are_bad_input_and_the_answer_stays_small() -> None:
    api = StubApi()
    result = await api.execute(CREATE, input={"tasks": [{"tittle": "a"}] * MAX_TASKS_AT_ONCE})
    assert result.errors is not None
    assert len(result.errors) < 100
    assert {code(dict(error.formatted)) for error in result.errors} == {"BAD_USER_INPUT"}
    assert api.store.batches == []


# ---------------------------------------------------------------- what keys are held against

TASK = {"title": "a", "idempotencyKey": "k", "tags": ["x"], "work": {"countdown": {"steps": 5}}}
LITERAL = '{work: {countdown: {steps: 5}}, tags: ["x"], title: "a", idempotencyKey: "k"}'
SENT: dict[str, tuple[str, dict[str, Any]]] = {
    "one variable": (CREATE, {"input": {"tasks": [TASK]}}),
    "a variable with one task for a list": (CREATE, {"input": {"tasks": TASK}}),
    "a variable for the list": (
        "mutation ($tasks: [CreateTaskInput!]!) {createTasks(input: {tasks: $tasks}) {results {created}}}",
        {"tasks": [TASK]},
    ),
    "a variable for the list with one task": (
        "mutation ($tasks: [CreateTaskInput!]!) {createTasks(input: {tasks: $tasks}) {results {created}}}",
        {"tasks": TASK},
    ),
    "a variable for each task": (
        "mutation ($task: CreateTaskInput!) {createTasks(input: {tasks: [$task]}) {results {created}}}",
        {"task": TASK},
    ),
    "a literal": (f"mutation {{createTasks(input: {{tasks: [{LITERAL}]}}) {{results {{created}}}}}}", {}),
    "a literal with one task for a list": (
        f"mutation {{createTasks(input: {{tasks: {LITERAL}}}) {{results {{created}}}}}}",
        {},
    ),
    "a task by itself": (
        "mutation ($task: CreateTaskInput!) {createTask(input: $task) {created}}",
        {"task": TASK},
    ),
}


@pytest.mark.parametrize(("document", "variables"), SENT.values(), ids=SENT.keys())
async def test_the_same_task_is_recognised_in_any_form(document: str, variables: dict[str, Any]) -> None:
    api = StubApi()
    await api.data(document, **variables)
    [stored] = api.store.created
    assert stored.request_hash == request_hash(TASK)


async def test_each_task_is_held_against_its_own_words() -> None:
    api = StubApi()
    tasks = [{"title": title, "idempotencyKey": title} for title in "abc"]
    await results(api, tasks)
    assert [task.request_hash for task in api.store.created] == [request_hash(task) for task in tasks]


async def test_keys_are_looked_up_only_for_tasks_whose_times_have_passed() -> None:
    api = StubApi()
    api.store.held = Existing(STORED)
    tasks = [{"title": str(number), "idempotencyKey": str(number)} for number in range(9)]
    late = {"title": "late", "idempotencyKey": "late", "expiresAt": PAST}
    answers = await results(api, [*tasks, late])
    assert [answer["created"] for answer in answers] == [True] * 9 + [False]
    assert answers[-1]["task"]["title"] == STORED.title
    assert [task.title for task in api.store.looked_up] == ["late"]
