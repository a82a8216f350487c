"""How much a document may ask for, and that what was prepared once is not prepared again."""

import time

import pytest
from graphql import get_introspection_query, parse

from gql.documents import MAX_REMEMBERED, MAX_REMEMBERED_CHARS
from gql.excesses import MAX_FIELDS, MAX_FRAGMENTS, MAX_ROOT_FIELDS, excesses
from gql.limits import Limits
from gql.schema import build_schema
from tests.unit.stub_api import StubApi, code

LIMITS = Limits()


def nested(depth: int) -> str:
    return "{a" * depth + "}" * depth


def wide(count: int, field: str = "x") -> str:
    return " ".join(f"{field}{index}" for index in range(count))


def aliased(count: int, field: str = "x") -> str:
    return " ".join(f"a{index}: {field}" for index in range(count))


def fragments(count: int, inside: str) -> str:
    return " ".join(f"fragment F{index} on Query {{{inside}}}" for index in range(count))


DOUBLING = "{...F0} " + " ".join(
    f"fragment F{index} on Query {{...F{index + 1} ...F{index + 1}}}" for index in range(60)
)

WITHIN = {
    "depth": nested(LIMITS.depth),
    "fields at the top": f"{{{wide(MAX_ROOT_FIELDS)}}}",
    "fields in all": f"{{a {{{wide(MAX_FIELDS - 1)}}}}}",
    "aliases": f"{{a {{{aliased(LIMITS.aliases)}}}}}",
    "aliases that fragments share": f"{{a {{...F}} ...F}} fragment F on A {{{aliased(LIMITS.aliases // 2)}}}",
    "fragments": "{...F0} " + fragments(MAX_FRAGMENTS, "a"),
    "depth through a fragment": f"{{a {{...F}}}} fragment F on A {nested(LIMITS.depth - 1)}",
    "depth through an inline fragment": f"{{... on Query {nested(LIMITS.depth)}}}",
    "introspection is no depth": "{__schema " + nested(LIMITS.depth + 1) + "}",
    "each operation by itself": f"query A {{{wide(MAX_ROOT_FIELDS)}}} query B {{{wide(MAX_ROOT_FIELDS)}}}",
    "a fragment that spreads itself": "{...F} fragment F on Query {a {...F}}",
    "fragments that spread each other": "{...F} fragment F on Query {...G} fragment G on Query {...F}",
    "a fragment that isn't there": "{...F}",
}
BEYOND = {
    "depth": nested(LIMITS.depth + 1),
    "fields at the top": f"{{{wide(MAX_ROOT_FIELDS + 1)}}}",
    "fields in all": f"{{a {{{wide(MAX_FIELDS)}}}}}",
    "aliases": f"{{a {{{aliased(LIMITS.aliases + 1)}}}}}",
    "aliases through a fragment": "{...F b: x ...F} fragment F on A {" + aliased(LIMITS.aliases // 2) + "}",
    "aliases of introspection": f"{{__schema {{types {{{aliased(LIMITS.aliases + 1, 'name')}}}}}}}",
    "fragments": "{...F0} " + fragments(MAX_FRAGMENTS + 1, "a"),
    "depth through a fragment": f"{{a {{...F}}}} fragment F on A {nested(LIMITS.depth)}",
    "depth through an inline fragment": f"{{... on Query {nested(LIMITS.depth + 1)}}}",
    "fields at the top through a fragment": f"{{...F ...F}} fragment F on Query {{{wide(MAX_ROOT_FIELDS)}}}",
    "fields of introspection": "{__schema {types {" + wide(MAX_FIELDS, "name") + "}}}",
    "the second operation": f"query A {{a}} query B {{{wide(MAX_ROOT_FIELDS + 1)}}}",
    "fragments that double": DOUBLING + " fragment F60 on Query {a}",
}


@pytest.mark.parametrize("document", WITHIN.values(), ids=WITHIN.keys())
def test_what_is_within_the_limits_passes(document: str) -> None:
    assert excesses(parse(document), LIMITS) == []


@pytest.mark.parametrize("document", BEYOND.values(), ids=BEYOND.keys())
async def test_what_is_beyond_a_limit_is_too_complex(document: str) -> None:
    found = excesses(parse(document), LIMITS)
    assert found
    assert {error.formatted["extensions"]["code"] for error in found} == {"TOO_COMPLEX"}
    told = (await StubApi().execute(document)).errors or []
    assert {code(dict(error.formatted)) for error in told} == {"TOO_COMPLEX"}


async def test_limits_of_graphql_core_are_too_complex_as_well() -> None:
    api = StubApi()
    for document in (
        "{" + "kinds {name} " * (LIMITS.tokens // 2) + "}",
        nested(1_000),
        "{__schema {types {fields {type {fields {type {fields {type {fields {name}}}}}}}}}}",
    ):
        assert code(await api.error(document)) == "TOO_COMPLEX"


async def test_a_long_chain_of_fragments_is_refused_and_not_followed_to_the_end() -> None:
    chain = " ".join(f"fragment F{index} on Query {{...F{index + 1}}}" for index in range(800))
    found = excesses(parse(f"{{...F0}} {chain} fragment F800 on Query {{a}}"), LIMITS)
    assert {error.formatted["extensions"]["code"] for error in found} == {"TOO_COMPLEX"}


async def test_introspection_as_tools_do_it_passes() -> None:
    query = get_introspection_query(
        descriptions=True,
        specified_by_url=True,
        directive_is_repeatable=True,
        schema_description=True,
        input_value_deprecation=True,
    )
    assert (await StubApi().data(query))["__schema"]["types"]


@pytest.mark.parametrize(
    "document",
    [
        "{tasks {nodes {" + "attempts {failure {code}} " * 160 + "}}}",
        "{__schema {types {" + "fields {type {name}} " * 160 + "}}}",
        "{" + " ".join(f"...F{index}" for index in range(100)) + "}" + fragments(100, "kinds {name}"),
        DOUBLING + " fragment F60 on Query {kinds {name}}",
    ],
)
def test_the_dearest_documents_cost_less_than_two_seconds_of_a_core(document: str) -> None:
    documents = StubApi().schema.documents
    start = time.process_time()
    documents.prepared(document)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(("introspection", "told"), [(True, True), (False, False)])
async def test_without_introspection_mistakes_tell_nothing_of_the_schema(
    introspection: bool, told: bool
) -> None:
    api = StubApi()
    api.schema = build_schema(api.registry, Limits(introspection=introspection))
    assert ("kinds" in (await api.error("{kindz {name}}"))["message"]) is told
    assert (await api.data("{kinds {__typename}}"))["kinds"]


async def test_a_document_is_prepared_once_however_often_it_comes() -> None:
    api = StubApi()
    for _ in range(5):
        await api.data("{kinds {name}}")
    seen = api.schema.documents.remembered.cache_info()
    assert (seen.misses, seen.hits) == (1, 4)


async def test_a_remembered_mistake_is_told_again_and_told_the_same() -> None:
    api = StubApi()
    first, second = [await api.error("{nothing}") for _ in range(2)]
    assert first == second
    assert api.schema.documents.remembered.cache_info().hits == 1


async def test_what_is_remembered_is_bounded() -> None:
    api = StubApi()
    for index in range(MAX_REMEMBERED + 10):
        await api.data(f"{{kinds {{a{index}: name}}}}")
    assert api.schema.documents.remembered.cache_info().currsize == MAX_REMEMBERED
    before = api.schema.documents.remembered.cache_info()
    await api.data("{kinds {name}} #" + "x" * MAX_REMEMBERED_CHARS)
    assert api.schema.documents.remembered.cache_info() == before


async def test_a_document_with_several_operations_must_name_one() -> None:
    api = StubApi()
    document = "query A { kinds { name } } query B { kinds { name } }"
    error = await api.error(document)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "operationName" in error["message"]
    named = await api.schema.execute(document, {}, api.context, operation_name="B")
    assert named.errors is None
