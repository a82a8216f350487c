"""Answers written by plan: a selection on a type, compiled once into a function from a value to its text.

Invariant: the text is what graphql-core would answer, to the letter. What a plan can't promise that of is out
of its reach: OutOfReach when it is made, anything when it meets such a value; graphql-core answers then.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from json import JSONEncoder
from json.encoder import encode_basestring_ascii as quoted
from math import isfinite
from operator import attrgetter, methodcaller
from typing import Any
from uuid import UUID

from graphql import (
    BooleanValueNode,
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
    GraphQLUnionType,
    InlineFragmentNode,
    SelectionNode,
)
from strawberry.types.field import StrawberryField

Getter = Callable[[Any], Any]
Write = Callable[[Any], str]
"""Raises whatever it likes for a value that graphql-core has to answer."""
Fragments = Mapping[str, FragmentDefinitionNode]

MAX_INT = 2**31 - 1
MIN_INT = -(2**31)
NO_OFFSET = timedelta(0)


class OutOfReach(Exception):
    """A plan can't promise the answer that graphql-core would give."""


Parts = Sequence[tuple[str, Getter, Write]]
"""Of an object: keys, how their values are read, how they are written."""


class Writers:
    """Compiles selections of one schema. `getters`: how fields with resolvers of their own are read."""

    def __init__(self, schema: GraphQLSchema, getters: Mapping[tuple[str, str], Getter]) -> None:
        self._schema = schema
        self._getters = getters
        self._enums: dict[str, dict[Any, str]] = {}

    def of(self, type_: GraphQLOutputType, nodes: Sequence[FieldNode], fragments: Fragments) -> Write:
        """Writes values of the type, with what the field nodes select. Raises OutOfReach."""
        if isinstance(type_, GraphQLNonNull):
            return self._present(type_.of_type, nodes, fragments)
        return or_null(self._present(type_, nodes, fragments))

    def _present(self, type_: GraphQLOutputType, nodes: Sequence[FieldNode], fragments: Fragments) -> Write:
        """Writes values that are not null."""
        match type_:
            case GraphQLList():
                return partial(listed, self.of(type_.of_type, nodes, fragments))
            case GraphQLObjectType():
                return self._object(type_, nodes, fragments)
            case GraphQLUnionType():
                members = {
                    member.name: self._object(member, nodes, fragments)
                    for member in self._schema.get_possible_types(type_)
                }
                return partial(member_of, members)
            case GraphQLEnumType():
                return partial(member, type_, self._enums.setdefault(type_.name, {}))
            case GraphQLInterfaceType():
                raise OutOfReach
            case GraphQLScalarType(name="DateTime"):
                return partial(moment, type_)
            case GraphQLScalarType():
                return LEAVES.get(type_.name) or partial(leaf, type_)
            case _:
                raise OutOfReach

    def _object(self, type_: GraphQLObjectType, nodes: Sequence[FieldNode], fragments: Fragments) -> Write:
        fields: dict[str, list[FieldNode]] = {}
        for node in nodes:
            for field in self._collected(
                type_, node.selection_set.selections if node.selection_set else (), fragments
            ):
                fields.setdefault((field.alias or field.name).value, []).append(field)
        made = [(f'"{key}":', *self._field(type_, same, fragments)) for key, same in fields.items()]
        parts = [(key, get, write) for key, get, _, write in made]
        stored_parts = [(key, get, write) for key, _, get, write in made]
        return partial(object_of, parts, stored_parts)

    def _field(
        self, type_: GraphQLObjectType, nodes: Sequence[FieldNode], fragments: Fragments
    ) -> tuple[Getter, Getter, Write]:
        """How it is read from a value of ours, from stored JSON, and written."""
        name = nodes[0].name.value
        if name == "__typename":
            return ignore, ignore, always(quoted(type_.name))
        field = type_.fields.get(name)
        if field is None or any(node.arguments for node in nodes):
            raise OutOfReach
        return *self._read(type_.name, name, field), self.of(field.type, nodes, fragments)

    def _read(self, type_name: str, name: str, field: Any) -> tuple[Getter, Getter]:
        if get := self._getters.get((type_name, name)):
            return get, get
        definition = field.extensions.get("strawberry-definition")
        if not isinstance(definition, StrawberryField) or definition.base_resolver is not None:
            raise OutOfReach
        return attrgetter(definition.python_name), methodcaller("get", definition.python_name)

    def _collected(
        self, type_: GraphQLObjectType, selections: Sequence[SelectionNode], fragments: Fragments
    ) -> Iterator[FieldNode]:
        """The fields that are selected of the type, through fragments, as graphql-core collects them."""
        for node in selections:
            if not is_included(node.directives):
                continue
            match node:
                case FieldNode():
                    yield node
                case InlineFragmentNode():
                    if self._applies(node.type_condition.name.value if node.type_condition else None, type_):
                        yield from self._collected(type_, node.selection_set.selections, fragments)
                case FragmentSpreadNode():
                    fragment = fragments[node.name.value]
                    if self._applies(fragment.type_condition.name.value, type_):
                        yield from self._collected(type_, fragment.selection_set.selections, fragments)

    def _applies(self, condition: str | None, type_: GraphQLObjectType) -> bool:
        if condition in (None, type_.name):
            return True
        other = self._schema.type_map[str(condition)]
        return isinstance(other, GraphQLInterfaceType | GraphQLUnionType) and self._schema.is_sub_type(
            other, type_
        )


def is_included(directives: Sequence[DirectiveNode] | None) -> bool:
    """Whether the directives let a selection in. Raises OutOfReach where variables decide, or for others."""
    included = True
    for directive in directives or ():
        name = directive.name.value
        value = directive.arguments[0].value if directive.arguments else None
        if name not in ("skip", "include") or not isinstance(value, BooleanValueNode):
            raise OutOfReach
        included = included and value.value is (name == "include")
    return included


# ---------------------------------------------------------------- writing


encode = JSONEncoder(separators=(",", ":")).encode


def ignore(_: Any) -> Any:
    return ()


def always(text: str) -> Write:
    return lambda _: text


def object_of(parts: Parts, stored_parts: Parts, value: Any) -> str:
    """One of ours, or stored JSON: a part of a handler's result."""
    chosen = stored_parts if isinstance(value, dict) else parts
    return "{" + ",".join([key + write(get(value)) for key, get, write in chosen]) + "}"


def member_of(members: Mapping[str, Write], value: Any) -> str:
    return members[type(value).__strawberry_definition__.name](value)


def listed(write: Write, values: Any) -> str:
    if not isinstance(values, list | tuple):
        raise OutOfReach
    return "[" + ",".join([write(value) for value in values]) + "]"


def or_null(write: Write) -> Write:
    return lambda value: "null" if value is None else write(value)


def member(type_: GraphQLEnumType, names: dict[Any, str], value: Any) -> str:
    """The name of an enum's member; those that were met are remembered."""
    return names.get(value) or names.setdefault(value, leaf(type_, value))


def leaf(type_: GraphQLScalarType | GraphQLEnumType, value: Any) -> str:
    """What is no everyday value of its type, as the type serializes it."""
    if value is None or (shown := type_.coerce_output_value(value)) is None:
        raise OutOfReach
    return encode(shown)


def identifier(value: Any) -> str:
    return f'"{value}"' if type(value) is UUID else leaf(GraphQLID, value)


def integer(value: Any) -> str:
    if type(value) is int and MIN_INT <= value <= MAX_INT:
        return str(value)
    return leaf(GraphQLInt, value)


def number(value: Any) -> str:
    return repr(value) if type(value) is float and isfinite(value) else leaf(GraphQLFloat, value)


def boolean(value: Any) -> str:
    if value is True:
        return "true"
    return "false" if value is False else leaf(GraphQLBoolean, value)


def text(value: Any) -> str:
    return quoted(value) if type(value) is str else leaf(GraphQLString, value)


def moment(type_: GraphQLScalarType, value: Any) -> str:
    if type(value) is datetime and (value.tzinfo is UTC or value.utcoffset() == NO_OFFSET):
        return f'"{value.isoformat("T", "microseconds")[:-6]}Z"'
    return leaf(type_, value)


LEAVES: Mapping[str, Write] = {
    "String": text,
    "ID": identifier,
    "Int": integer,
    "Float": number,
    "Boolean": boolean,
}
