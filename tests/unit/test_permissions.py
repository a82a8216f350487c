"""What each operation needs of whoever asks for it, on the schema as it is: no field is without a rule."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from graphql import (
    GraphQLNonNull,
    GraphQLObjectType,
    Undefined,
    get_named_type,
    is_composite_type,
    print_type,
)
from strawberry.types.execution import PreExecutionError

from gql.permissions import HIDDEN, RULES
from gql.selection import Selections
from gql.viewer import LOCAL, Scope, Viewer
from tests.unit.stub_api import LETTERS, MISSING_ID, STORED, TASK_ID, StubApi, StubHub, code, shipped

GRAPHQL = shipped()._schema
ROOTS: list[GraphQLObjectType] = [
    root for root in (GRAPHQL.query_type, GRAPHQL.mutation_type, GRAPHQL.subscription_type) if root
]
FIELDS = [f"{root.name}.{name}" for root in ROOTS for name in root.fields]
OPERATIONS = {"Query": "query", "Mutation": "mutation", "Subscription": "subscription"}
EACH_SET = [frozenset[Scope](), *(frozenset({scope}) for scope in Scope)]
WATCH = Viewer("alice", frozenset(), time.time() + 3600, watches=TASK_ID)
STATUS = "subscription ($id: ID!) { taskStatus(id: $id) { version } }"


def document(coordinate: str) -> str:
    """An operation that asks for one root field, with every argument that it must have."""
    root, name = coordinate.split(".")
    field = next(each for each in ROOTS if each.name == root).fields[name]
    required = [
        (argument_name, argument)
        for argument_name, argument in field.args.items()
        if isinstance(argument.type, GraphQLNonNull) and argument.default_value is Undefined
    ]
    types = ", ".join(f"${name}: {argument.type}" for name, argument in required)
    uses = ", ".join(f"{name}: ${name}" for name, _ in required)
    arguments = f"({uses})" if uses else ""
    below = " { __typename }" if is_composite_type(get_named_type(field.type)) else ""
    return f"{OPERATIONS[root]} Q{f'({types})' if types else ''} {{ {name}{arguments}{below} }}"


def refusals(api: StubApi, query: str, viewer: Viewer) -> list[Any]:
    """What the schema would refuse before it runs anything."""
    prepared = api.schema.documents.prepared(query)
    assert prepared.errors == []
    wanted = prepared.operation(None)
    assert wanted is not None
    return list(wanted.needs.refusals(viewer))


def as_viewer(viewer: Viewer, hub: StubHub | None = None) -> StubApi:
    return StubApi(hub=hub, asks=viewer)


def test_every_root_field_of_the_schema_has_a_rule_and_no_other() -> None:
    assert set(RULES) == set(FIELDS)


def test_what_is_hidden_from_watchers_are_fields_or_will_be() -> None:
    assert "Task.resultUrl" in HIDDEN
    assert "input" in print_type(GRAPHQL.type_map["Task"])


@pytest.mark.parametrize("scopes", EACH_SET, ids=str)
@pytest.mark.parametrize("coordinate", FIELDS)
def test_field_is_refused_unless_the_token_has_one_of_its_scopes(
    coordinate: str, scopes: frozenset[Scope]
) -> None:
    api = StubApi()
    errors = refusals(api, document(coordinate), Viewer("alice", scopes))
    rule = RULES[coordinate]
    allowed = not rule or bool(scopes & set(rule)) or Scope.ADMIN in scopes
    assert bool(errors) is not allowed
    for error in errors:
        assert error.extensions["code"] == "FORBIDDEN"
        assert coordinate in error.message
        assert all(scope in error.message for scope in rule)
        assert error.locations


@pytest.mark.parametrize("coordinate", FIELDS)
def test_watch_token_is_for_one_subscription_alone(coordinate: str) -> None:
    errors = refusals(StubApi(), document(coordinate), WATCH)
    assert bool(errors) is (coordinate != "Subscription.taskStatus")
    assert all(error.extensions["code"] == "FORBIDDEN" for error in errors)


@pytest.mark.parametrize("coordinate", FIELDS)
def test_nobody_asks_for_anything_once_their_token_has_ended(coordinate: str) -> None:
    for viewer in (replace(WATCH, expires_at=time.time() - 1), replace(LOCAL, expires_at=1.0)):
        [error] = refusals(StubApi(), document(coordinate), viewer)
        assert error.extensions["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("coordinate", FIELDS)
def test_without_authentication_everything_is_allowed(coordinate: str) -> None:
    assert refusals(StubApi(), document(coordinate), LOCAL) == []


def test_introspection_takes_any_user_s_token_but_no_watch_token() -> None:
    api = StubApi()
    for query in ("{ __typename }", '{ __schema { types { name } } __type(name: "Task") { name } }'):
        assert refusals(api, query, Viewer("alice", frozenset())) == []
        assert refusals(api, query, WATCH) != []


@pytest.mark.parametrize(
    "query",
    [
        "{ queues { name } }",
        "{ a: queues { name } kinds { name } }",
        "{ ... { queues { name } } }",
        "{ ... on Query { queues { name } } }",
        "query A { ...F } fragment F on Query { ...G } fragment G on Query { queues { name } }",
        "{ queues @skip(if: true) { name } }",
    ],
)
async def test_alias_fragment_or_directive_is_no_way_round(query: str) -> None:
    error = await as_viewer(Viewer("alice", frozenset({Scope.READ}))).error(query)
    assert code(error) == "FORBIDDEN"
    assert error["message"] == "Query.queues needs a token with the scope tasks:admin."


async def test_only_the_operation_that_runs_needs_a_permission() -> None:
    api = as_viewer(Viewer("alice", frozenset({Scope.READ})))
    both = "query A { kinds { name } } query B { queues { name } }"
    result = await api.schema.execute(both, {}, api.context, operation_name="A")
    assert result.errors is None
    result = await api.schema.execute(both, {}, api.context, operation_name="B")
    assert [code(dict(error.formatted)) for error in result.errors or ()] == ["FORBIDDEN"]


async def test_nothing_runs_of_an_operation_that_is_partly_forbidden() -> None:
    api = as_viewer(Viewer("alice", frozenset({Scope.READ})))
    result = await api.execute("{ task(id: 1) { id } queues { name } }")
    assert result.data is None
    assert api.queues.polls == 0


@pytest.mark.parametrize("query", ["{ node(id: $id) { id } }", "{ nodes(ids: [$id]) { id } }"])
@pytest.mark.parametrize("scope", [Scope.READ, Scope.ADMIN])
async def test_dead_letter_by_its_id_is_there_for_administrators_alone(query: str, scope: Scope) -> None:
    api = as_viewer(Viewer("alice", frozenset({scope})))
    data = await api.data(f"query ($id: ID!) {query}", id=str(LETTERS[0].id))
    found = data.get("node") or (data.get("nodes") or [None])[0]
    assert (found is not None) is (scope is Scope.ADMIN)


# ---------------------------------------------------------------- watch tokens


async def streamed(viewer: Viewer, query: str, **variables: Any) -> list[Any]:
    api = as_viewer(viewer, StubHub([STORED]))
    results = []
    async for result in await api.schema.stream(query, variables, api.context):
        results.append(result)
    return results


def is_read(viewer: Viewer, query: str, **variables: Any) -> bool:
    """Whether the short way is taken, past the schema."""
    api = as_viewer(viewer)
    part: Any = object()
    context = replace(api.context, hub=part, feeds=part)
    return Selections(api.schema).read(query, variables, None, context) is not None


async def test_watch_token_starts_the_watch_of_its_task() -> None:
    assert is_read(WATCH, STATUS, id=str(TASK_ID))
    [result] = await streamed(WATCH, STATUS, id=str(TASK_ID))
    assert result.data == {"taskStatus": {"version": 1}}


async def test_other_tasks_are_missing_for_it() -> None:
    assert not is_read(WATCH, STATUS, id=str(MISSING_ID))
    [result] = await streamed(WATCH, STATUS, id=str(MISSING_ID))
    assert code(result.errors[0].formatted) == "NOT_FOUND"


def hiding() -> Iterator[str]:
    for name in ("input", "attempts { number }"):
        yield f"subscription ($id: ID!) {{ taskStatus(id: $id) {{ {name} }} }}"
        yield f"subscription ($id: ID!) {{ a: taskStatus(id: $id) {{ version b: {name} }} }}"
        yield f"subscription ($id: ID!) {{ taskStatus(id: $id) {{ ... on Task {{ ... {{ {name} }} }} }} }}"
        skipped = f"... @skip(if: true) {{ {name} }}"
        yield f"subscription ($id: ID!) {{ taskStatus(id: $id) {{ version {skipped} }} }}"
        yield (
            "subscription ($id: ID!) { ...R } fragment R on Subscription { taskStatus(id: $id) { ...F } } "
            f"fragment F on Node {{ ...G }} fragment G on Task {{ {name} }}"
        )


@pytest.mark.parametrize("query", list(hiding()))
async def test_what_is_hidden_is_refused_by_whatever_way_it_is_asked_for(query: str) -> None:
    assert not is_read(WATCH, query, id=str(TASK_ID))
    [result] = await streamed(WATCH, query, id=str(TASK_ID))
    assert isinstance(result, PreExecutionError)
    assert result.errors is not None
    [error] = result.errors
    assert code(dict(error.formatted)) == "FORBIDDEN"
    assert "Task.input" in error.message or "Task.attempts" in error.message
    assert is_read(LOCAL, query, id=str(TASK_ID)) or "...R" in query


async def test_field_of_that_name_in_another_type_is_shown() -> None:
    query = "subscription ($id: ID!) { taskStatus(id: $id) { input: version attempts: title } }"
    assert is_read(WATCH, query, id=str(TASK_ID))


async def test_watch_token_is_made_for_a_task_that_one_sees() -> None:
    api = StubApi()
    create = """mutation ($id: ID!, $ttl: Int! = 3600) {
      createWatchToken(input: {id: $id, ttlSeconds: $ttl}) { token expiresAt userErrors { code field } }
    }"""
    made = (await api.data(create, id=str(TASK_ID)))["createWatchToken"]
    assert made["userErrors"] == []
    bearer = await api.watch_tokens.viewer(made["token"])
    assert (bearer.owner, bearer.watches) == ("alice", TASK_ID)
    for id, ttl, expected in (
        (str(MISSING_ID), 60, ("NOT_FOUND", ["input", "id"])),
        ("x", 60, ("INVALID", ["input", "id"])),
        (str(TASK_ID), 0, ("INVALID", ["input", "ttlSeconds"])),
        (str(TASK_ID), 86_401, ("INVALID", ["input", "ttlSeconds"])),
    ):
        refused = (await api.data(create, id=id, ttl=ttl))["createWatchToken"]
        [error] = refused["userErrors"]
        assert (error["code"], error["field"]) == expected
        assert refused["token"] is refused["expiresAt"] is None


async def test_administrator_s_watch_token_is_for_the_owner_s_task() -> None:
    admin = as_viewer(Viewer("root", frozenset({Scope.ADMIN})))
    create = "mutation ($id: ID!) { createWatchToken(input: {id: $id}) { token } }"
    made = await admin.data(create, id=str(TASK_ID))
    assert (await admin.watch_tokens.viewer(made["createWatchToken"]["token"])).owner == "alice"
