"""What an operation can cost, by its document and variables, and what becomes of one that costs too much."""

from typing import Any

import pytest
from graphql import (
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    get_introspection_query,
    get_named_type,
    is_composite_type,
)

from gql.cost import COUNT_COST, ERRORS, LIST_SIZES, MEASURES, ROOT_COST, TASK_COST
from gql.limits import Limits
from gql.schema import build_schema
from taskql.registry import load_registry
from tests.unit.stub_api import TASK_ID, StubApi, code

ALL_OF_A_TASK = """
    id owner title description kind status isTerminal version priority orderingKey tags attempt maxAttempts
    attempts {number startedAt finishedAt outcome failure {code message retryable}}
    progress {fraction message} failure {code message retryable}
    runAt expiresAt createdAt updatedAt startedAt finishedAt input
    result {
        __typename
        ... on ProcessResult {message}
        ... on ComputeResult {count sum average maximum: max minimum: min}
        ... on TransformResult {uppercase lowercase wordCount charCount}
        ... on ReverseResult {outputData}
    }
"""
LARGEST_PAGE = f"""{{
    tasks(first: 100) {{
        nodes {{{ALL_OF_A_TASK}}}
        pageInfo {{hasNextPage hasPreviousPage startCursor endCursor}}
        asOf totalCount totalCountIsExact
    }}
}}"""


def cost(document: str, **variables: Any) -> int:
    prepared = StubApi().schema.documents.prepared(document)
    assert not prepared.errors
    operation = prepared.operation(None)
    assert operation is not None
    return operation.cost.of(variables)


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ("{task(id: 1) {id title}}", 3),
        ("{a: task(id: 1) {id} b: task(id: 2) {id}}", 4 + ROOT_COST),
        ("{task(id: 1) {...F ...F}} fragment F on Task {id title}", 5),
        ("{task(id: 1) {... on Task {id} ... {title}}}", 3),
        ("{task(id: 1) {id @skip(if: true)}}", 2),
        ("{task(id: 1) {__typename}}", 2),
        ("{task(id: 1) {attempts {number failure {code}}}}", 2 + 20 * 3),
        ("{tasks {nodes {id}}}", 2 + 20),
        ("{tasks {edges {cursor node {id}}}}", 2 + 20 * 3),
        ("{tasks(first: 7) {nodes {id} edges {cursor}}}", 3 + 7 + 7),
        ("{tasks(last: 7) {nodes {id attempts {number}}}}", 2 + 7 * (2 + 20)),
        ("{tasks(first: 7) {...F}} fragment F on TaskConnection {nodes {id}}", 2 + 7),
        ("{tasks(first: 7) {nodes {id}} other: tasks(first: 3) {nodes {id}}}", 4 + 7 + 3 + ROOT_COST),
        ("{tasks {totalCount}}", 2 + COUNT_COST),
        ("{deadLetters(first: 9) {nodes {id}}}", 2 + 9),
        ('{nodes(ids: ["1", "2", "3"]) {id ... on Task {attempts {number}}}}', 1 + 3 * (2 + 20)),
        ('{nodes(ids: "1") {id}}', 2),
        ("{queues {name}}", 1 + 4),
        ("subscription {queues {name}}", 1 + 4),
        ("subscription {taskUpdates {id attempts {number}}}", 3 + 20),
        ('mutation {cancelTask(input: {id: "1"}) {task {id} userErrors {code message}}}', 6),
        ("mutation {redriveTasks(input: {}) {redriven}}", 2 + 100 * TASK_COST),
        ("mutation {redriveTasks(input: {limit: 7}) {redriven}}", 2 + 7 * TASK_COST),
        (
            'mutation {createTasks(input: {tasks: [{title: "a"}, {title: "b"}]}) {results {created}}}',
            2 + 2 * (TASK_COST + 1),
        ),
        ("{__schema {types {fields {name}}}}", 4 - ROOT_COST),
        ("{__schema {types {...F}}} fragment F on __Type {name fields {name}}", 5 - ROOT_COST),
    ],
)
def test_a_field_counts_once_for_each_item_of_the_lists_that_it_is_in(document: str, fields: int) -> None:
    assert cost(document) == fields + ROOT_COST


PAGES = "query ($first: Int, $last: Int) {tasks(first: $first, last: $last) {nodes {id attempts {number}}}}"
WITH_A_DEFAULT = "query ($first: Int = 5) {tasks(first: $first) {nodes {id}}}"
NODES = "query ($ids: [ID!]!) {nodes(ids: $ids) {id}}"
CREATE = "mutation ($input: CreateTasksInput!) {createTasks(input: $input) {results {created}}}"
CREATE_THESE = (
    "mutation ($tasks: [CreateTaskInput!]!) {createTasks(input: {tasks: $tasks}) {results {created}}}"
)


@pytest.mark.parametrize(
    ("document", "variables", "fields"),
    [
        (PAGES, {}, 2 + 20 * 22),
        (PAGES, {"first": None}, 2 + 20 * 22),
        (PAGES, {"first": 3}, 2 + 3 * 22),
        (PAGES, {"last": 3}, 2 + 3 * 22),
        (PAGES, {"first": 100}, 2 + 100 * 22),
        (PAGES, {"first": 10**9}, 2 + 100 * 22),
        (PAGES, {"first": -5}, 2),
        (PAGES, {"first": "many"}, 2 + 20 * 22),
        (WITH_A_DEFAULT, {}, 2 + 5),
        (WITH_A_DEFAULT, {"first": 6}, 2 + 6),
        (NODES, {"ids": ["1"] * 50}, 51),
        (NODES, {"ids": "1"}, 2),
        (NODES, {}, 2),
        (CREATE, {"input": {"tasks": [{}] * 50}}, 2 + 50 * (TASK_COST + 1)),
        (CREATE, {"input": 5}, 2 + TASK_COST + 1),
        (CREATE_THESE, {"tasks": [{}] * 50}, 2 + 50 * (TASK_COST + 1)),
    ],
)
def test_sizes_that_are_variables_count_as_the_request_has_them(
    document: str, variables: dict[str, Any], fields: int
) -> None:
    assert cost(document, **variables) == fields + ROOT_COST


def test_every_list_of_objects_has_a_size_that_somebody_chose() -> None:
    schema = StubApi().schema._schema
    measured = {
        inner
        for coordinate in MEASURES
        for inner in (coordinate, str(get_named_type(field_of(schema, coordinate).type)))
    }
    for type_ in schema.type_map.values():
        if not isinstance(type_, GraphQLObjectType) or type_.name.startswith("__"):
            continue
        for name, field in type_.fields.items():
            inner = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
            if isinstance(inner, GraphQLList) and is_composite_type(get_named_type(inner)):
                coordinate = f"{type_.name}.{name}"
                known = coordinate in LIST_SIZES or name == ERRORS
                assert known or {coordinate, type_.name} & measured, coordinate


def field_of(schema: Any, coordinate: str) -> Any:
    type_, name = coordinate.split(".")
    return schema.type_map[type_].fields[name]


async def test_the_largest_page_passes_and_its_cost_is_in_the_answer() -> None:
    result = await StubApi().execute(LARGEST_PAGE)
    assert result.errors is None
    assert result.extensions == {"cost": {"requested": cost(LARGEST_PAGE), "limit": 25_000}}
    assert cost(LARGEST_PAGE) > 15_000


async def test_five_hundred_new_tasks_with_their_fields_pass() -> None:
    document = CREATE.replace(
        "created", "created task {id title status version createdAt} userErrors {code message field}"
    )
    assert cost(document, input={"tasks": [{}] * 500}) < Limits().complexity


async def test_introspection_as_tools_do_it_is_cheap() -> None:
    assert cost(get_introspection_query()) < 1_000


async def test_what_costs_too_much_is_refused_before_it_runs() -> None:
    api = StubApi()
    document = LARGEST_PAGE.removesuffix("}") + LARGEST_PAGE.replace(
        "tasks(", "more: tasks(", 1
    ).removeprefix("{")
    result = await api.execute(document)
    [error] = result.errors or []
    assert code(dict(error.formatted)) == "TOO_COMPLEX"
    assert f"{2 * cost(LARGEST_PAGE):,}" in error.message
    assert "25,000" in error.message
    assert result.extensions == {"cost": {"requested": 2 * cost(LARGEST_PAGE), "limit": 25_000}}


async def test_a_stream_is_refused_for_its_cost_too_and_tells_it_then() -> None:
    api = StubApi()
    api.schema = build_schema(load_registry(), Limits(complexity=100))
    [result] = await api.stream(
        "subscription {taskUpdates {attempts {number outcome failure {code message}}}}"
    )
    assert [code(dict(error.formatted)) for error in result.errors or []] == ["TOO_COMPLEX"]
    assert result.extensions == {"cost": {"requested": 112, "limit": 100}}


async def test_results_of_a_subscription_do_not_repeat_its_cost() -> None:
    watch = f'subscription {{taskStatus(id: "{TASK_ID}") {{id}}}}'
    for result in await StubApi().stream(watch):
        assert not result.extensions
