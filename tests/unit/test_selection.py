"""The texts that subscriptions share, against what graphql-core itself would answer each of them."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from strawberry.types import ExecutionResult

from gql.context import Context
from gql.execution import payload
from gql.selection import Request, Selections, encode_json
from gql.watched import Watched
from taskql.adapters.redis.codec import decode, encode
from taskql.errors import NotFound
from taskql.lifecycle import AttemptOutcome, TaskStatus
from taskql.task import EVENT_FIELDS, Attempt, Failure, Progress, Task, TaskEvent
from tests.unit.stub_api import NOW, STORED, TASK_ID, StubApi, StubHub, viewer

STATES = [
    STORED,
    replace(STORED, version=2, status=TaskStatus.PROCESSING, progress=Progress(0.5, 'half "way" ✓\ud800')),
    replace(
        STORED,
        version=3,
        status=TaskStatus.FAILED,
        failure=Failure("TIMEOUT", "too slow", True),
        attempts=(Attempt(1, NOW, NOW, AttemptOutcome.FAILED, Failure("TIMEOUT", "too slow", True)),),
        finished_at=NOW,
    ),
    replace(STORED, version=4, status=TaskStatus.COMPLETED, result={"output_data": "olleh"}),
    replace(STORED, version=5, kind="countdown", status=TaskStatus.COMPLETED, result={"steps": 2**31}),
]
"""The last one's result does not fit its type: an error, and nulls up to the next field that may be null."""

DOCUMENTS = [
    "subscription ($id: ID!) { taskStatus(id: $id) { id version status isTerminal } }",
    "subscription ($id: ID!) { watched: taskStatus(id: $id) { a: version b: version __typename } }",
    """subscription W($id: ID!, $all: Boolean = true, $no: Boolean! = false) {
      taskStatus(id: $id) { ...Some @include(if: $all) failure @skip(if: $no) { code } }
    }
    fragment Some on Task { title tags ...More }
    fragment More on Task { attempts { number outcome failure { ...Why } } progress { fraction message } }
    fragment Why on TaskFailure { code message retryable }""",
    """subscription ($id: ID!, $after: Int) { taskStatus(id: $id, afterVersion: $after) {
      ... on Node { id } ... on Task @include(if: false) { title }
      result { __typename ... on ReverseResult { outputData } ... on CountdownResult { steps } } input
    } }""",
    "query Q { kinds { name } } subscription S($id: ID!) { taskStatus(id: $id) { createdAt finishedAt } }",
    f'subscription {{ taskStatus(id: "{TASK_ID}", afterVersion: 1) {{ version }} }}',
]


def operation_of(document: str) -> str | None:
    return "S" if document.startswith("query") else None


class Sharing:
    """Selections of the shipped schema, read as alice unless told otherwise."""

    def __init__(self) -> None:
        self.api = StubApi()
        self.selections = Selections(self.api.schema)
        self.part: Any = object()

    def context(self, owner: str = "alice") -> Context:
        # The stubs can be compared, so they can't be hashed; the real ones can.
        return replace(
            self.api.context, viewer=viewer(owner), hub=self.part, feeds=self.part, queues=self.part
        )

    def read(
        self, document: str, name: str | None = None, owner: str = "alice", **variables: Any
    ) -> Request | None:
        return self.selections.read(document, {"id": str(TASK_ID), **variables}, name, self.context(owner))

    def request(self, document: str, *arguments: Any, **variables: Any) -> Request:
        request = self.read(document, *arguments, **variables)
        assert request is not None
        return request


def watched_at(task: Task) -> Watched:
    watched = Watched(task.id)
    assert watched.takes(task)
    return watched


def without_incidents(text: str) -> str:
    """Each masked error has an id of its own."""
    return re.sub("[0-9a-f]{32}", "incident", text)


async def streamed(states: list[Task], document: str, failure: Exception | None = None) -> list[str]:
    """What a subscription of its own would be answered."""
    api = StubApi(hub=StubHub(states=states, failure=failure))
    variables = {"id": str(TASK_ID)}
    results = await api.schema.subscribe(
        document, variables, api.context, operation_name=operation_of(document)
    )
    texts = []
    async for result in results:
        assert isinstance(result, ExecutionResult)
        texts.append(encode_json(payload(result)))
    return texts


@pytest.mark.parametrize("document", DOCUMENTS, ids=range(len(DOCUMENTS)))
async def test_shared_text_is_what_a_subscription_of_its_own_would_be_answered(document: str) -> None:
    selection = Sharing().request(document, operation_of(document)).selection
    shared = [selection.text(watched_at(task)) for task in STATES]
    assert all(isinstance(text, str) for text in shared)
    own = await streamed(STATES, document)
    assert [without_incidents(str(text)) for text in shared] == [without_incidents(text) for text in own]
    assert any("data" in json.loads(text) for text in own)


@pytest.mark.parametrize("document", DOCUMENTS, ids=range(len(DOCUMENTS)))
async def test_failure_is_what_a_subscription_of_its_own_would_be_answered(document: str) -> None:
    error = NotFound("There is no such task, or it is not yours.")
    selection = Sharing().request(document, operation_of(document)).selection
    assert [selection.failure(error)] == await streamed([], document, failure=error)


def test_arguments_are_read_from_variables_and_literals() -> None:
    sharing = Sharing()
    request = sharing.request(DOCUMENTS[3], after=7)
    assert (request.task_id, request.after_version) == (TASK_ID, 7)
    assert sharing.request(DOCUMENTS[3]).after_version is None
    assert sharing.request(DOCUMENTS[5]).after_version == 1


def test_variables_of_the_root_field_alone_do_not_keep_subscriptions_apart() -> None:
    sharing = Sharing()
    other = "0198c5a4-6f1e-7b3c-9d2a-111111111111"
    one = sharing.request(DOCUMENTS[3], after=1)
    two = sharing.selections.read(DOCUMENTS[3], {"id": other, "after": 2}, None, sharing.context())
    assert two is not None
    assert one.selection is two.selection


def test_whatever_could_show_keeps_subscriptions_apart() -> None:
    sharing = Sharing()
    document = DOCUMENTS[2]
    kept = [
        sharing.request(document),
        sharing.request(document, all=None),
        sharing.request(document, all=False),
        sharing.request(document, no=True),
        sharing.request(document, owner="bob"),
        sharing.request(document + " "),
    ]
    assert len({id(request.selection) for request in kept}) == len(kept)
    assert sharing.request(document, all=False).selection is kept[2].selection


def test_text_is_made_once_for_a_version() -> None:
    selection = Sharing().request(DOCUMENTS[0]).selection
    watched = watched_at(STORED)
    first = selection.text(watched)
    assert selection.text(watched) is first
    assert watched.takes(STATES[1])
    assert selection.text(watched) != first


@pytest.mark.parametrize("document", DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_text_of_an_event_is_that_of_the_whole_task(document: str) -> None:
    selection = Sharing().request(document, operation_of(document)).selection
    watched = watched_at(STORED)
    for state in STATES[1:-1]:  # the last one is of another kind
        assert watched.takes(TaskEvent(**{name: getattr(state, name) for name in EVENT_FIELDS}))
        assert selection.text(watched) == selection.text(watched_at(state))


def test_moments_that_came_over_redis_are_written_by_plan() -> None:
    document = "subscription ($id: ID!) { taskStatus(id: $id) { updatedAt finishedAt } }"
    selection = Sharing().request(document).selection
    watched = watched_at(STORED)
    assert watched.takes(decode(encode(STATES[2])))
    assert selection.text(watched) == selection.text(watched_at(STATES[2]))


def test_whole_task_is_put_together_for_those_alone_who_show_more_than_what_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sharing = Sharing()
    changing, titled = (
        sharing.request(f"subscription ($id: ID!) {{ taskStatus(id: $id) {{ {field} }} }}").selection
        for field in ("version", "title")
    )
    watched = watched_at(STORED)
    event = TaskEvent(**{name: getattr(STATES[1], name) for name in EVENT_FIELDS})
    assert watched.takes(event)
    assert changing.text(watched) == '{"data":{"taskStatus":{"version":2}}}'
    assert watched.newest is event
    assert json.loads(str(titled.text(watched))) == {"data": {"taskStatus": {"title": STORED.title}}}
    assert watched.newest == STATES[1]


def test_selection_that_nobody_needs_is_forgotten() -> None:
    sharing = Sharing()
    request: Request | None = sharing.request(DOCUMENTS[0])
    assert len(sharing.selections._shared) == 1
    del request
    assert len(sharing.selections._shared) == 0


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "{}",
        "subscription {}",
        "{ kinds { name } }",
        "mutation { __typename }",
        "subscription ($id: ID!) { nothing(id: $id) { id } }",
        "subscription ($id: ID!) { taskStatus(id: $id) { nothing } }",
        "subscription ($id: ID!) { taskStatus(id: $id) { id } taskStatus(id: $id) { version } }",
        "subscription ($id: ID!) { ...F } fragment F on Subscription { taskStatus(id: $id) { id } }",
        "subscription ($id: ID!) { ... { taskStatus(id: $id) { id } } }",
        "subscription ($id: ID!) { taskStatus(id: $id) @include(if: true) { id } }",
        "subscription ($id: ID!, $more: Int!) { taskStatus(id: $id, afterVersion: $more) { id } }",
        'subscription { taskStatus(id: "no id") { id } }',
        "subscription A($id: ID!) { taskStatus(id: $id) { id } } "
        "subscription B($id: ID!) { taskStatus(id: $id) { id } }",
        "subscription ($id: ID!) { taskStatus(id: $id) { id } }" + " " * 4_000,
    ],
)
def test_what_is_odd_is_left_to_the_schema(document: str) -> None:
    assert Sharing().read(document) is None


def test_operation_that_is_not_there_is_left_to_the_schema() -> None:
    assert Sharing().read(DOCUMENTS[0], "Nobody") is None
