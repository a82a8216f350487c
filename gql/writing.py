"""Answers written by plan: a selection on a type, compiled once into a function from a value to its text.

Invariant: the text is what graphql-core would answer, to the letter; what a plan can't promise that of is out of
its reach, when it is made or when it meets such a value, and graphql-core answers then.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from json.encoder import encode_basestring_ascii as quoted
from math import isfinite
from typing import Any
from uuid import UUID

from graphql import (
    BooleanValueNode,
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLEnumType,
    GraphQLInterfaceType,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLUnionType,
    InlineFragmentNode,
    SelectionNode,
)
from strawberry.types.base import get_object_definition
from strawberry.types.field import StrawberryField

from gql.scalars import serialize_datetime

Getter = Callable[[Any], Any]
Write = Callable[[Any], str]
Fragments = Mapping[str, FragmentDefinitionNode]

MAX_INT = 2**31 - 1
MIN_INT = -(2**31)


class OutOfReach(Exception):
    """A plan can't promise the answer that graphql-core would give."""


class Writers:
    """Compiles selections of one schema. `getters`: how fields with resolvers of their own are read."""

    def __init__(self, schema: GraphQLSchema, getters: Mapping[tuple[str, str], Getter]) -> None:
        self._schema = schema
        self._getters = getters
        self._enums: dict[str, Mapping[Any, str]] = {}

    def of(self, type_: GraphQLOutputType, nodes: Sequence[FieldNode], fragments: Fragments) -> Write:
        """Writes values of the type, with what the field nodes select. Raises OutOfReach."""
        if isinstance(type_, GraphQLNonNull):
            return self._present(type_.of_type, nodes, fragments)
        return partial(or_null, self._present(type_, nodes, fragments))

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
                return partial(known, self._enum(type_))
            case GraphQLInterfaceType():
                raise OutOfReach
            case _:
                return self._leaf(type_)

    def _object(self, type_: GraphQLObjectType, nodes: Sequence[FieldNode], fragments: Fragments) -> Write:
        fields: dict[str, list[FieldNode]] = {}
        for node in nodes:
            for field in self._collected(
                type_, node.selection_set.selections if node.selection_set else (), fragments
            ):
                fields.setdefault((field.alias or field.name).value, []).append(field)
        parts = [(f"{quoted(key)}:", *self._field(type_, same, fragments)) for key, same in fields.items()]
        return partial(object_of, parts)

    def _field(
        self, type_: GraphQLObjectType, nodes: Sequence[FieldNode], fragments: Fragments
    ) -> tuple[Getter, Write]:
        name = nodes[0].name.value
        if name == "__typename":
            constant = quoted(type_.name)
            return ignore, lambda _: constant
        field = type_.fields.get(name)
        if field is None or any(node.arguments for node in nodes):
            raise OutOfReach
        return self._getter(type_.name, name, field), self.of(field.type, nodes, fragments)

    def _getter(self, type_name: str, name: str, field: Any) -> Getter:
        if getter := self._getters.get((type_name, name)):
            return getter
        definition = field.extensions.get("strawberry-definition")
        if not isinstance(definition, StrawberryField) or definition.base_resolver is not None:
            raise OutOfReach
        return partial(read, definition.python_name)

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

    def _enum(self, type_: GraphQLEnumType) -> Mapping[Any, str]:
        if type_.name not in self._enums:
            self._enums[type_.name] = {
                value.value: quoted(str(type_.coerce_output_value(value.value)))
                for value in type_.values.values()
            }
        return self._enums[type_.name]

    def _leaf(self, type_: GraphQLLeafType) -> Write:
        return LEAVES.get(type_.name) or partial(leaf, type_)


def is_included(directives: Sequence[DirectiveNode] | None) -> bool:
    """Whether the directives let a selection in. Raises OutOfReach where variables decide, or others stand."""
    included = True
    for directive in directives or ():
        name = directive.name.value
        value = directive.arguments[0].value if directive.arguments else None
        if name not in ("skip", "include") or not isinstance(value, BooleanValueNode):
            raise OutOfReach
        included = included and value.value is (name == "include")
    return included


# ---------------------------------------------------------------- writing


def ignore(_: Any) -> Any:
    return ()


def read(name: str, value: Any) -> Any:
    """A field of a value; nested results are the JSON that is stored."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name)


def object_of(parts: Sequence[tuple[str, Getter, Write]], value: Any) -> str:
    return "{" + ",".join([key + write(get(value)) for key, get, write in parts]) + "}"


def member_of(members: Mapping[str, Write], value: Any) -> str:
    definition = get_object_definition(type(value))
    if definition is None:
        raise OutOfReach
    return members[definition.name](value)


def listed(write: Write, values: Any) -> str:
    if not isinstance(values, list | tuple):
        raise OutOfReach
    return "[" + ",".join(map(write, values)) + "]"


def or_null(write: Write, value: Any) -> str:
    return "null" if value is None else write(value)


def known(names: Mapping[Any, str], value: Any) -> str:
    try:
        return names[value]
    except (KeyError, TypeError):
        raise OutOfReach from None


def leaf(type_: GraphQLLeafType, value: Any) -> str:
    """Any other scalar, as it serializes itself."""
    if value is None:
        raise OutOfReach
    try:
        return json.dumps(type_.coerce_output_value(value), separators=(",", ":"))
    except Exception:
        raise OutOfReach from None


def text(value: Any) -> str:
    if type(value) is not str:
        raise OutOfReach
    return quoted(value)


def identifier(value: Any) -> str:
    if isinstance(value, UUID):
        return f'"{value}"'
    return text(value)


def integer(value: Any) -> str:
    if type(value) is not int or not MIN_INT <= value <= MAX_INT:
        raise OutOfReach
    return str(value)


def number(value: Any) -> str:
    if type(value) is not float or not isfinite(value):
        raise OutOfReach
    return repr(value)


def boolean(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    raise OutOfReach


def moment(value: Any) -> str:
    if type(value) is datetime and value.tzinfo is UTC:
        return f'"{value.isoformat(timespec="microseconds")[:-6]}Z"'
    if not isinstance(value, datetime):
        raise OutOfReach
    return f'"{serialize_datetime(value)}"'


LEAVES: Mapping[str, Write] = {
    "String": text,
    "ID": identifier,
    "Int": integer,
    "Float": number,
    "Boolean": boolean,
    "DateTime": moment,
}
