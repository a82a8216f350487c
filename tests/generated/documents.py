"""Operations that the schema itself allows, or just doesn't: by schemathesis, and subscriptions by what it is
made of, for it knows none.
"""

import re
from functools import cache

import schemathesis
from graphql import GraphQLSchema, build_schema, get_named_type, is_leaf_type, print_schema
from hypothesis import strategies as st
from hypothesis_graphql import Mode, queries
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.graphql import nodes

from tests.deployment import ROOT

SCHEMA = ROOT / "schema.graphql"
ID = re.compile(r'\b(id|ids): (?:"(?:[^"\\]|\\.)*"|\[\]|-?[0-9]+)')
MOMENTS = st.one_of(
    st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    st.sampled_from(["2026-11-22T09:30:00Z", "2026-11-22", "", "now", "9999-12-31T23:59:59-14:00"]),
).map(nodes.String)


@st.composite
def with_known_ids(draw: st.DrawFn, documents: st.SearchStrategy[str], known: list[str]) -> str:
    """A document, half of the time with the ids of tasks that are there, among them finished ones."""
    document = draw(documents)
    if not ID.search(document) or draw(st.booleans()):
        return document
    id = draw(st.sampled_from(known))
    return ID.sub(lambda found: f'{found[1]}: "{id}"', document)


@cache
def operations(mode: str) -> dict[str, st.SearchStrategy[str]]:
    """Documents for each field of Query and Mutation, valid ones or not."""
    schemathesis.graphql.scalar("DateTime", MOMENTS)
    schema = schemathesis.graphql.from_path(str(SCHEMA))
    made: dict[str, st.SearchStrategy[str]] = {}
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        cases = operation.as_strategy(generation_mode=GenerationMode(mode))
        made[operation.label] = cases.map(lambda case: str(case.body))
    return made


@cache
def subscriptions(mode: str) -> dict[str, st.SearchStrategy[str]]:
    """Documents for each field of Subscription: to the generator it is a Query."""
    schema = build_schema(SCHEMA.read_text())
    assert schema.subscription_type is not None
    types = list(schema.type_map.values())
    turned = print_schema(GraphQLSchema(query=schema.subscription_type, types=types))
    return {
        f"Subscription.{field}": queries(
            turned, fields=[field], custom_scalars={"DateTime": MOMENTS}, mode=Mode[mode.upper()]
        ).map(lambda document: f"subscription {document}")
        for field, definition in schema.subscription_type.fields.items()
        if mode == "positive"
        or any(is_leaf_type(get_named_type(each.type)) for each in definition.args.values())
    }


def documents(kinds: str, known: list[str]) -> st.SearchStrategy[str]:
    """Of operations or subscriptions; three of four are valid by the schema."""
    make = {"operations": operations, "subscriptions": subscriptions}[kinds]
    valid, wrong = make("positive"), make("negative")
    by_mode = [st.one_of(*valid.values())] * 3 + [st.one_of(*wrong.values())]
    return with_known_ids(st.one_of(*by_mode), known)
