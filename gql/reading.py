"""Variables read by plan: an input type, compiled once into a function from JSON to what resolvers are given.

Invariant: a value is what graphql-core would make of it. What it would refuse is out of reach, since it says
why.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from graphql import (
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLString,
    Undefined,
    is_required_input_field,
)
from graphql.utilities.coerce_input_value import coerce_default_value

from gql.writing import OutOfReach
from taskql.task import JSON

Read = Callable[[JSON], Any]
Fields = Mapping[str, tuple[str, Read]]
"""By what clients call them: the names that resolvers know, and how the values are read."""


class Readers:
    """Compiles the input types of one schema; each once, since they may hold themselves."""

    def __init__(self) -> None:
        self._objects: dict[str, Read] = {}

    def of(self, type_: GraphQLInputType) -> Read:
        if isinstance(type_, GraphQLNonNull):
            return partial(present, self._present(type_.of_type))
        return partial(or_none, self._present(type_))

    def _present(self, type_: Any) -> Read:
        """Reads values that are not null."""
        if isinstance(type_, GraphQLList):
            return partial(listed, self.of(type_.of_type))
        if isinstance(type_, GraphQLInputObjectType):
            return self._object(type_)
        return text if type_ is GraphQLString else leaf(type_)

    def _object(self, type_: GraphQLInputObjectType) -> Read:
        if type_.name not in self._objects:
            fields: dict[str, tuple[str, Read]] = {}
            defaults: dict[str, Any] = {}
            required = {name for name, field in type_.fields.items() if is_required_input_field(field)}
            self._objects[type_.name] = partial(object_of, type_, fields, defaults, required)
            for name, field in type_.fields.items():
                fields[name] = field.out_name or name, self.of(field.type)
                if (default := coerce_default_value(field)) is not Undefined:
                    defaults[field.out_name or name] = default
        return self._objects[type_.name]


def object_of(
    type_: GraphQLInputObjectType,
    fields: Fields,
    defaults: Mapping[str, Any],
    required: set[str],
    value: JSON,
) -> Any:
    if not isinstance(value, dict) or type_.is_one_of or not required <= value.keys():
        raise OutOfReach
    found = dict(defaults)
    for name, item in value.items():
        known = fields.get(name)
        if known is None:
            raise OutOfReach
        out_name, read = known
        found[out_name] = read(item)
    return type_.out_type(found)


def present(read: Read, value: JSON) -> Any:
    if value is None:
        raise OutOfReach
    return read(value)


def or_none(read: Read, value: JSON) -> Any:
    return None if value is None else read(value)


def listed(read: Read, value: JSON) -> list[Any]:
    return [read(item) for item in value] if isinstance(value, list) else [read(value)]


def text(value: JSON) -> str:
    if type(value) is not str:
        raise OutOfReach
    return value


def leaf(type_: Any) -> Read:
    read: Read = type_.coerce_input_value
    return read
