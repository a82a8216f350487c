"""Answers by plan, against those that the schema itself gives to the same document, request and task."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from graphql import get_named_type, is_leaf_type
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from gql import execution
from gql.answers import payload
from gql.plans import Plans
from gql.request import Operation
from gql.selection import Selections, encode_json
from taskql.ports import Creation, Existing
from taskql.task import NewTask, Task
from tests.unit.planned_documents import IDS, MUTATION, QUERY, SUBSCRIPTION, operation_of, planned_schema
from tests.unit.planned_values import REGISTRY, Draw, creation_of, error_of, input_of, task_of
from tests.unit.stub_api import STORED, StubApi, StubHub
from tests.unit.test_selection import watched_at, without_incidents

POSTED = {OperationType.QUERY, OperationType.MUTATION}
SEEDS = range(150)


def planned_api(hub: StubHub | None = None) -> StubApi:
    return StubApi(REGISTRY, hub, schema=planned_schema())


class Answering:
    """Holds answers by plan against the schema's, and counts them."""

    def __init__(self) -> None:
        self._plans = Plans(planned_schema())
        self._selections = Selections(planned_schema())
        self.seen: Counter[str] = Counter()

    def plans_one_in(self, times: int) -> None:
        """At least one in so many was answered by plan: else the tests would show nothing."""
        assert self.seen["by plan"] * times > self.seen.total(), self.seen

    async def compare(self, asked: Operation, task: Task, creation: Creation | Exception | None) -> None:
        """The two answers, and what was done for each of them."""
        planned, plain = planned_api(), planned_api()
        for api in (planned, plain):
            api.store.task = task
            api.store.failure = creation if isinstance(creation, Exception) else None
            api.store.answer = None if isinstance(creation, Exception) else creation
        found = await self._plans.answer(asked, planned.context, POSTED)
        if found is None:
            self.seen["declined"] += 1
            assert effects(planned) == ([], [], [])
            return
        self.seen["by plan" if isinstance(found, str) else "told to the schema"] += 1
        shown = found if isinstance(found, str) else encode_json(payload(found))
        assert without_incidents(shown) == without_incidents(str(await by_schema(plain, asked))), asked
        assert effects(planned) == effects(plain)

    async def compare_streams(self, asked: Operation, task: Task) -> None:
        api = planned_api(StubHub(states=[task]))
        part: Any = object()  # the stubs can be compared, so they can't be hashed; the real ones can
        context = replace(api.context, hub=part, feeds=part, queues=part)
        request = self._selections.read(asked.query, asked.variables, asked.name, context)
        if request is None:
            self.seen["declined"] += 1
            return
        text = request.selection.text(watched_at(task))
        self.seen["told to the schema" if request.selection._executor else "by plan"] += 1
        shown = text if isinstance(text, str) else await text
        stream = await api.schema.subscribe(
            asked.query, asked.variables, api.context, operation_name=asked.name
        )
        [result] = [each async for each in stream]
        assert without_incidents(shown) == without_incidents(encode_json(execution.payload(result))), asked


async def by_schema(api: StubApi, asked: Operation) -> str | None:
    try:
        result: ExecutionResult = await api.schema.execute(
            asked.query,
            variable_values=asked.variables,
            context_value=api.context,
            operation_name=asked.name,
            allowed_operation_types=POSTED,
        )
    except (CannotGetOperationTypeError, InvalidOperationTypeError):
        return None
    return encode_json(payload(result))


def effects(api: StubApi) -> tuple[list[NewTask], list[int], list[NewTask]]:
    """What was asked of the store, but for the trace, which is each request's own."""
    created, looked_up = (
        [replace(new, traceparent=None) for new in asked_for]
        for asked_for in (api.store.created, api.store.looked_up)
    )
    return created, api.store.batches, looked_up


async def test_one_task_by_plan_is_what_the_schema_answers() -> None:
    answering = Answering()
    for seed in SEEDS:
        draw = Draw(seed)
        failure = error_of(draw) if draw.once_in(10) else None
        await answering.compare(operation_of(draw, QUERY, draw.choice(IDS)), task_of(draw), failure)
    answering.plans_one_in(4)


async def test_create_task_by_plan_is_what_the_schema_answers_and_is_done_once() -> None:
    answering = Answering()
    for seed in SEEDS:
        draw = Draw(seed)
        asked = operation_of(draw, MUTATION, input_of(draw))
        await answering.compare(asked, task_of(draw), creation_of(draw))
    answering.plans_one_in(4)
    assert answering.seen["told to the schema"] > 0


async def test_status_by_plan_is_what_the_schema_streams() -> None:
    answering = Answering()
    for seed in SEEDS:
        draw = Draw(seed)
        await answering.compare_streams(operation_of(draw, SUBSCRIPTION, draw.choice(IDS)), task_of(draw))
    answering.plans_one_in(5)


IN_REACH = [
    "id ...on Node { id again: id } ...N ...T @skip(if: true)",
    "a: title b: title title @include(if: false) title @skip(if: true) kept: title @include(if: true)",
    "attempts { number } attempts { failure { code } } ... { attempts { outcome failure { message } } }",
    "result { __typename ... on Paid { total } ... on Lost { sum: total line { amount } } }",
    "result { ... on TaskResult { ... on Lost { line { at: soldAt colour partOf { amount } } } } }",
    "result { ... on Lost { line { amount } } ... on Lost { line { amount c: colour } } }",
    "result { ... on BillResult { dueAt how wide price extra table first { soldAt } lines { colour } } }",
    "failureDetail { __typename ... on OutOfStock { item left since message } }",
    "progress { fraction message } tags input isTerminal priority status failure { retryable }",
    "version attempt maxAttempts attempts { number failure { retryable } }",
    "createdAt updatedAt runAt expiresAt startedAt finishedAt attempts { startedAt finishedAt }",
]
FRAGMENTS = "fragment N on Node { nodeId: id __typename } fragment T on Task { hidden: title }"


@pytest.mark.parametrize("inner", IN_REACH)
async def test_what_is_asked_every_day_is_answered_by_plan(inner: str) -> None:
    answering = Answering()
    used = FRAGMENTS if "...N" in inner else ""
    one = Operation(f"query ($id: ID!) {{ task(id: $id) {{ {inner} }} }} {used}", {"id": str(STORED.id)})
    create = Operation(
        f"mutation ($new: CreateTaskInput!) {{ createTask(input: $new) {{ task {{ {inner} }} }} }} {used}",
        {"new": {"title": "a", "work": {"numbers": {}}}},
    )
    status = Operation(
        f"subscription ($id: ID!) {{ taskStatus(id: $id) {{ {inner} }} }} {used}", {"id": str(STORED.id)}
    )
    for seed in range(12):
        task = replace(task_of(Draw(seed), "either" if seed % 2 else "bill"), result_location=None)
        await answering.compare(one, task, None)
        await answering.compare(create, task, Existing(task))
        await answering.compare_streams(status, task)
    answering.plans_one_in(2)


def task_fields() -> list[str]:
    """Each field of a task with all leaves below it, but for those that take their time."""
    schema = planned_schema()._schema
    task: Any = schema.type_map["Task"]
    fields = []
    for name, field in task.fields.items():
        below = get_named_type(field.type)
        leaves = [
            each
            for each, inner in getattr(below, "fields", {}).items()
            if is_leaf_type(get_named_type(inner.type))
        ]
        chosen = "" if is_leaf_type(below) else f" {{ {' '.join(['__typename', *leaves])} }}"
        fields += [] if name == "resultUrl" else [f"{name}{chosen}"]
    return fields


async def test_every_field_of_a_plain_task_is_in_reach() -> None:
    answering = Answering()
    fields = task_fields()
    for field in fields:
        asked = Operation(f"query ($id: ID!) {{ task(id: $id) {{ {field} }} }}", {"id": str(STORED.id)})
        await answering.compare(asked, STORED, None)
    assert answering.seen == {"by plan": len(fields)}


@pytest.mark.parametrize(
    "work",
    [
        None, {"numbers": {}}, {"process": {"_": True}}, {"either": {"amount": 1, "colour": "RED"}},
        {}, {"numbers": None}, {"numbers": {}, "process": {}}, {"numbers": {}, "bill": None}, {"odd": {}},
        {"either": {"amount": 2**31, "colour": "RED"}}, {"either": {"colour": "RED"}}, 5, [], "",
    ],
)  # fmt: skip
async def test_work_of_any_form_is_read_as_the_schema_reads_it(work: object) -> None:
    document = "mutation ($new: CreateTaskInput!) { createTask(input: $new) { task { kind input } } }"
    await Answering().compare(Operation(document, {"new": {"title": "a", "work": work}}), STORED, None)
