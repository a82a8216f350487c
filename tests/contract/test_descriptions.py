"""Everything in the schema says something that its name does not."""

from collections.abc import Iterator

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    is_introspection_type,
    is_specified_scalar_type,
)

from gql.schema import print_sdl
from taskql.registry import load_registry

SCHEMA = build_schema(print_sdl(load_registry()))
FILLERS = {
    "a",
    "an",
    "and",
    "as",
    "at",
    "by",
    "for",
    "if",
    "in",
    "is",
    "it",
    "its",
    "of",
    "or",
    "the",
    "this",
    "to",
}


def described(schema: GraphQLSchema) -> Iterator[tuple[str, str | None]]:
    """Each thing of our own in a schema: its coordinate and its description."""
    for type_ in schema.type_map.values():
        if is_introspection_type(type_) or is_specified_scalar_type(type_):
            continue
        yield type_.name, type_.description
        if isinstance(type_, GraphQLEnumType):
            for name, value in type_.values.items():
                yield f"{type_.name}.{name}", value.description
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for name, field in type_.fields.items():
                yield f"{type_.name}.{name}", field.description
                for argument, definition in getattr(field, "args", {}).items():
                    yield f"{type_.name}.{name}({argument}:)", definition.description


def words(text: str) -> set[str]:
    spaced = "".join(f" {letter}" if letter.isupper() else letter for letter in text)
    letters = "".join(letter if letter.isalnum() else " " for letter in spaced)
    return set(letters.lower().split()) - FILLERS


def says_nothing(coordinate: str, description: str | None) -> bool:
    """Whether a reader of the name learns nothing from the description."""
    return not description or words(description) <= words(coordinate)


def test_nothing_is_without_a_description_that_says_something() -> None:
    assert [coordinate for coordinate, text in described(SCHEMA) if says_nothing(coordinate, text)] == []


def test_a_missing_or_an_empty_description_would_be_found() -> None:
    schema = build_schema(
        'type Query { "The task id." taskId(of: ID): ID, "Whom it belongs to." owner: E } '
        '"One of these." enum E { "It waits for a worker." A B }'
    )
    found = {coordinate for coordinate, text in described(schema) if says_nothing(coordinate, text)}
    assert found == {"Query", "Query.taskId", "Query.taskId(of:)", "E.B"}
