"""createTask: from the client's words to the service's request, and back."""

from dataclasses import replace
from typing import Any

import pytest

from gql.viewer import LOCAL
from taskql.creation import request_hash
from taskql.lifecycle import TaskStatus
from taskql.listing import TaskFilter
from taskql.ports import Conflict, Existing
from taskql.queues import TaskPriority
from tests.unit.stub_api import MISSING_ID, STORED, TASK_ID, StubApi, code

CREATE = """
mutation ($input: CreateTaskInput!) {
  createTask(input: $input) {
    created
    task {id kind title description input owner}
    userErrors {code message field}
  }
}
"""


async def create(api: StubApi, **input: Any) -> dict[str, Any]:
    payload: dict[str, Any] = (await api.data(CREATE, input=input))["createTask"]
    return payload


async def test_task_is_stored_under_the_models_names_and_shown_under_the_clients() -> None:
    api = StubApi()
    payload = await create(api, title="  a title ", description="d", work={"reverse": {"inputData": "ab"}})
    [stored] = api.store.created
    assert (stored.owner, stored.kind, stored.title) == ("alice", "reverse", "a title")
    assert stored.input == {"input_data": "ab", "simulate_seconds": 0.0}
    assert payload == {
        "created": True,
        "task": {
            "id": str(TASK_ID),
            "kind": "reverse",
            "title": "a title",
            "description": "d",
            "input": {"inputData": "ab", "simulateSeconds": 0.0},
            "owner": "alice",
        },
        "userErrors": [],
    }


async def test_work_that_is_left_out_or_null_is_process() -> None:
    api = StubApi()
    await create(api, title="a")
    await create(api, title="a", work=None)
    assert [(task.kind, task.input) for task in api.store.created] == [
        ("process", {"simulate_seconds": 0.0})
    ] * 2


WISHES = """
mutation ($input: CreateTaskInput!) {
  createTask(input: $input) {
    task {priority orderingKey tags runAt expiresAt}
    userErrors {code message field}
  }
}
"""


async def wish(**input: Any) -> dict[str, Any]:
    payload: dict[str, Any] = (await StubApi().data(WISHES, input={"title": "a", **input}))["createTask"]
    assert payload["userErrors"] == []
    task: dict[str, Any] = payload["task"]
    return task


async def test_when_and_how_a_task_is_wanted_is_shown_as_it_was_asked_for() -> None:
    assert await wish(
        priority="LOW",
        tags=["b", "a", "b"],
        runAt="9998-12-31T23:00:00-01:00",
        expiresAt="9999-12-31T23:59:59Z",
    ) == {
        "priority": "LOW",
        "orderingKey": None,
        "tags": ["b", "a"],
        "runAt": "9999-01-01T00:00:00.000000Z",
        "expiresAt": "9999-12-31T23:59:59.000000Z",
    }
    assert (await wish(orderingKey="k", priority="NORMAL"))["orderingKey"] == "k"


LEFT_OUT: dict[str, Any] = {
    "priority": "NORMAL",
    "orderingKey": None,
    "tags": [],
    "runAt": None,
    "expiresAt": None,
}


async def test_null_means_left_out() -> None:
    assert await wish() == LEFT_OUT
    assert await wish(orderingKey=None, tags=None, runAt=None, expiresAt=None) == LEFT_OUT


async def test_one_tag_stands_for_a_list_of_one() -> None:
    assert (await wish(tags="a"))["tags"] == ["a"]


async def test_the_largest_values_are_accepted() -> None:
    tags = ["🚀" * 63 + str(number) for number in range(10)]
    task = await wish(orderingKey="ä" * 128, tags=tags)
    assert (task["orderingKey"], task["tags"]) == ("ä" * 128, tags)


async def test_a_moment_to_run_at_that_has_passed_is_no_mistake() -> None:
    assert (await wish(runAt="2001-01-01T00:00:00Z"))["runAt"] == "2001-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    "input",
    [
        {"priority": None},
        {"priority": "URGENT"},
        {"tags": ["a", None]},
        {"tags": [1]},
        {"orderingKey": 1},
        {"runAt": "2026-11-22T09:30:00"},
        {"runAt": "tomorrow"},
        {"runAt": 1795340000},
        {"expiresAt": "9999-12-31T23:59:59-01:00"},
        {"expiresAt": "10000-01-01T00:00:00Z"},
    ],
)
async def test_what_is_not_of_its_type_is_bad_input(input: dict[str, Any]) -> None:
    api = StubApi()
    assert code(await api.error(WISHES, input={"title": "a", **input})) == "BAD_USER_INPUT"
    assert api.store.created == []


async def test_a_place_in_a_list_is_named_in_words_too() -> None:
    [error] = (await create(StubApi(), title="a", tags=["a", "x" * 65]))["userErrors"]
    assert error["message"] == "The field 'tags[1]' has 65 characters; the most is 64."


@pytest.mark.parametrize("expired", ["2001-01-01T00:00:00Z", "2001-01-01T00:00:00+14:00"])
async def test_repeated_request_gets_the_first_ones_task_though_it_has_expired(expired: str) -> None:
    api = StubApi()
    api.store.held = Existing(STORED)
    payload = await create(api, title="a", idempotencyKey="k", expiresAt=expired)
    assert (payload["created"], payload["task"]["id"], payload["userErrors"]) == (False, str(TASK_ID), [])
    api.store.held = Conflict(MISSING_ID)
    payload = await create(api, title="a", idempotencyKey="k", expiresAt=expired)
    assert [error["code"] for error in payload["userErrors"]] == ["IDEMPOTENCY_CONFLICT"]


async def test_repeated_request_gets_the_first_ones_task() -> None:
    api = StubApi()
    api.store.answer = Existing(STORED)
    payload = await create(api, title="a", idempotencyKey="k")
    assert (payload["created"], payload["task"]["id"], payload["userErrors"]) == (False, str(TASK_ID), [])


async def test_key_that_is_taken_is_a_conflict_that_names_the_other_task() -> None:
    api = StubApi()
    api.store.answer = Conflict(MISSING_ID)
    payload = await create(api, title="a", idempotencyKey="k")
    [error] = payload["userErrors"]
    assert (payload["created"], payload["task"]) == (False, None)
    assert (error["code"], error["field"]) == ("IDEMPOTENCY_CONFLICT", ["input", "idempotencyKey"])
    assert str(MISSING_ID) in error["message"]


@pytest.mark.parametrize(
    ("input", "field"),
    [
        ({"title": " \t\n"}, ["title"]),
        ({"title": "x" * 256}, ["title"]),
        ({"title": "a\x00"}, ["title"]),
        ({"title": "a\ud800"}, ["title"]),
        ({"title": "a", "description": "x" * 10_001}, ["description"]),
        ({"title": "a", "idempotencyKey": ""}, ["idempotencyKey"]),
        ({"title": "a", "idempotencyKey": "x" * 256}, ["idempotencyKey"]),
        ({"title": "a", "orderingKey": ""}, ["orderingKey"]),
        ({"title": "a", "orderingKey": "x" * 129}, ["orderingKey"]),
        ({"title": "a", "orderingKey": "\ud800"}, ["orderingKey"]),
        ({"title": "a", "orderingKey": "k", "priority": "HIGH"}, ["priority"]),
        ({"title": "a", "orderingKey": "k", "priority": "LOW"}, ["priority"]),
        ({"title": "a", "tags": ["a", "b", "c", ""]}, ["tags", "3"]),
        ({"title": "a", "tags": ["x" * 65]}, ["tags", "0"]),
        ({"title": "a", "tags": ["a", "\x00"]}, ["tags", "1"]),
        ({"title": "a", "tags": ["a"] * 11}, ["tags"]),
        ({"title": "a", "expiresAt": "2001-01-01T00:00:00Z"}, ["expiresAt"]),
        ({"title": "a", "runAt": "9999-01-01T00:00:00Z", "expiresAt": "9998-01-01T00:00:00Z"}, ["expiresAt"]),
        (
            {"title": "a", "work": {"reverse": {"inputData": "", "simulateSeconds": -1}}},
            ["work", "reverse", "simulateSeconds"],
        ),
        ({"title": "a", "work": {"reverse": {"inputData": "\x00"}}}, ["work", "reverse", "inputData"]),
        ({"title": "a", "work": {"fail": {"message": ""}}}, ["work", "fail", "message"]),
        ({"title": "a", "work": {"countdown": {"steps": 0}}}, ["work", "countdown", "steps"]),
        ({"title": "a", "work": {"countdown": {"steps": 1000, "stepSeconds": 60}}}, ["work", "countdown"]),
    ],
)
async def test_what_can_not_be_accepted_is_a_user_error_in_its_place(
    input: dict[str, Any], field: list[str]
) -> None:
    api = StubApi()
    payload = await create(api, **input)
    [error] = payload["userErrors"]
    assert (payload["created"], payload["task"]) == (False, None)
    assert (error["code"], error["field"]) == ("INVALID", ["input", *field])
    assert error["message"][0].isupper()
    assert error["message"].endswith(".")
    assert "Value error" not in error["message"]
    assert api.store.created == []


async def test_all_that_is_wrong_is_told_at_once() -> None:
    api = StubApi()
    payload = await create(api, title="", work={"countdown": {"steps": 0, "stepSeconds": 99}})
    assert [error["field"][1:] for error in payload["userErrors"]] == [
        ["title"],
        ["work", "countdown", "steps"],
        ["work", "countdown", "stepSeconds"],
    ]


@pytest.mark.parametrize("literal", ["1e999", "-1e999", "9" * 400])
async def test_number_that_no_float_holds_is_a_user_error_in_its_place(literal: str) -> None:
    api = StubApi()
    document = f"""mutation {{
      createTask(input: {{title: "a", work: {{compute: {{numbers: [1, 2, 3, {literal}]}}}}}}) {{
        userErrors {{code field}}
      }}
    }}"""
    assert (await api.data(document))["createTask"]["userErrors"] == [
        {"code": "INVALID", "field": ["input", "work", "compute", "numbers", "3"]}
    ]


async def test_number_of_thousands_of_digits_crashes_nothing() -> None:
    work = f"{{compute: {{numbers: [{'9' * 5000}]}}}}"
    result = await StubApi().execute(
        f'mutation {{createTask(input: {{title: "a", work: {work}}}) {{created}}}}'
    )
    assert (result.data, result.errors) == ({"createTask": {"created": False}}, None)


# What an idempotency key is held against: the request as it was sent.

SENT: dict[str, tuple[str, dict[str, Any]]] = {
    "one variable": (
        CREATE,
        {"input": {"title": "a", "idempotencyKey": "k", "work": {"countdown": {"steps": 5}}}},
    ),
    "a literal": (
        """mutation {
          createTask(input: {work: {countdown: {steps: 5}}, title: "a", idempotencyKey: "k"}) {created}
        }""",
        {},
    ),
    "a variable for a part": (
        """mutation ($steps: Int!, $title: String!, $unused: String) {
          createTask(input: {
            title: $title, idempotencyKey: "k", description: $unused, work: {countdown: {steps: $steps}}
          }) {created}
        }""",
        {"steps": 5, "title": "a"},
    ),
    "a variable's default": (
        """mutation ($work: TaskWorkInput = {countdown: {steps: 5}}) {
          createTask(input: {title: "a", idempotencyKey: "k", work: $work, description: null}) {created}
        }""",
        {},
    ),
    "a float that is whole": (
        CREATE,
        {"input": {"title": "a", "idempotencyKey": "k", "work": {"countdown": {"steps": 5.0}}}},
    ),
}


@pytest.mark.parametrize(("document", "variables"), SENT.values(), ids=SENT.keys())
async def test_the_same_request_is_recognised_in_any_form(document: str, variables: dict[str, Any]) -> None:
    api = StubApi()
    await api.data(document, **variables)
    [stored] = api.store.created
    assert stored.request_hash == request_hash(
        {"title": "a", "idempotencyKey": "k", "work": {"countdown": {"steps": 5}}}
    )


async def test_a_default_that_is_spelled_out_makes_another_request() -> None:
    """So that a new default of a handler makes no conflict for whoever repeats a request."""
    api = StubApi()
    await create(api, title="a", idempotencyKey="k", work={"countdown": {}})
    await create(api, title="a", idempotencyKey="k", work={"countdown": {"steps": 5}})
    first, second = api.store.created
    assert first.input == second.input
    assert first.request_hash != second.request_hash


async def test_priority_is_hashed_as_it_was_sent_and_times_and_tags_too() -> None:
    api = StubApi()
    await create(api, title="a", idempotencyKey="k")
    await create(api, title="a", idempotencyKey="k", tags=None, runAt=None, expiresAt=None, orderingKey=None)
    await create(api, title="a", idempotencyKey="k", priority="NORMAL")
    await create(api, title="a", idempotencyKey="k", tags=[])
    plain, nulls, normal, untagged = [task.request_hash for task in api.store.created]
    assert plain == nulls
    assert len({plain, normal, untagged}) == 3
    document = """mutation {
      createTask(input: {title: "a", idempotencyKey: "k", priority: NORMAL}) {created}
    }"""
    await api.data(document)
    assert api.store.created[-1].request_hash == normal


async def test_cancelling_answers_with_the_task_or_says_why_not() -> None:
    api = StubApi()
    document = (
        f'mutation {{ cancelTask(input: {{id: "{TASK_ID}"}}) '
        "{ task { id } userErrors { code message field } } }"
    )
    refused = (await api.data(document))["cancelTask"]
    assert refused["task"] is None
    [error] = refused["userErrors"]
    assert (error["code"], error["field"]) == ("ALREADY_FINISHED", ["input", "id"])
    assert "nothing left to cancel" in error["message"]
    api.control.changed = STORED
    assert (await api.data(document))["cancelTask"] == {"task": {"id": str(TASK_ID)}, "userErrors": []}


@pytest.mark.parametrize("mutation", ["cancelTask", "retryTask", "deleteTask"])
@pytest.mark.parametrize(("id", "code"), [(MISSING_ID, "NOT_FOUND"), ("abc", "INVALID")])
async def test_missing_and_malformed_ids_are_data(mutation: str, id: object, code: str) -> None:
    api = StubApi()
    document = f'mutation {{ {mutation}(input: {{id: "{id}"}}) {{ userErrors {{ code field }} }} }}'
    [error] = (await api.data(document))[mutation]["userErrors"]
    assert error == {"code": code, "field": ["input", "id"]}


async def test_what_is_not_retryable_or_not_finished_says_so() -> None:
    api = StubApi()
    api.store.task = replace(STORED, status=TaskStatus.PROCESSING)
    for mutation, told in (("retryTask", "NOT_RETRYABLE"), ("deleteTask", "NOT_FINISHED")):
        document = f'mutation {{ {mutation}(input: {{id: "{TASK_ID}"}}) {{ userErrors {{ code }} }} }}'
        assert (await api.data(document))[mutation]["userErrors"] == [{"code": told}]


async def test_redriving_counts_first_and_retries_then() -> None:
    api = StubApi()
    api.control.changed = STORED
    dry = "mutation { redriveTasks(input: {dryRun: true}) { matched redriven } }"
    assert (await api.data(dry))["redriveTasks"] == {"matched": 1, "redriven": 0}
    wet = "mutation { redriveTasks(input: {limit: 1}) { matched redriven userErrors { code } } }"
    assert (await api.data(wet))["redriveTasks"] == {"matched": 1, "redriven": 1, "userErrors": []}


async def test_redriving_takes_every_filter_of_a_listing() -> None:
    api = StubApi()
    await api.data(
        """mutation {
          redriveTasks(input: {filter: {priority: LOW, orderingKey: "k", tags: ["a", "b"]}}) {redriven}
        }"""
    )
    assert api.control.filters[0] == TaskFilter(
        priority=[TaskPriority.LOW], ordering_key="k", tags=["a", "b"]
    )


@pytest.mark.parametrize(
    ("input", "field"),
    [
        ("limit: 0", "limit"),
        ("limit: 1001", "limit"),
        ('filter: {titleContains: ""}', "filter"),
        ('filter: {orderingKey: ""}', "filter"),
        ('filter: {tags: ["a", ""]}', "filter"),
    ],
)
async def test_a_redrive_that_cannot_be_says_where(input: str, field: str) -> None:
    api = StubApi()
    document = f"mutation {{ redriveTasks(input: {{{input}}}) {{ redriven userErrors {{ code field }} }} }}"
    refused = (await api.data(document))["redriveTasks"]
    assert refused == {"redriven": 0, "userErrors": [{"code": "INVALID", "field": ["input", field]}]}


async def test_dead_letters_are_paged_newest_first_and_are_nodes() -> None:
    api = StubApi(asks=LOCAL)
    first = await api.data(
        "{ deadLetters(first: 2) { nodes { id reason at } pageInfo { endCursor hasNextPage } } }"
    )
    assert [letter["id"][-1] for letter in first["deadLetters"]["nodes"]] == ["3", "2"]
    assert first["deadLetters"]["pageInfo"]["hasNextPage"]
    cursor = first["deadLetters"]["pageInfo"]["endCursor"]
    rest = await api.data(f'{{ deadLetters(after: "{cursor}") {{ edges {{ node {{ id queue }} }} }} }}')
    [edge] = rest["deadLetters"]["edges"]
    assert await api.data(f'{{ node(id: "{edge["node"]["id"]}") {{ __typename id }} }}') == {
        "node": {"__typename": "DeadLetter", "id": edge["node"]["id"]}
    }
