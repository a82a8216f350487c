"""Values between their stored form and the one that clients send and see.

What is made of a shape is made once, and only for what differs between the two: names, choices and wide
integers. Invariant: showing what is stored never fails; where it has another shape it stays as it is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from gql.context import without_undefined
from taskql.shapes.shape import Choice, ListOf, Model, Nullable, Scalar, Shape
from taskql.task import JSON

Convert = Callable[[Any], JSON]


@dataclass(frozen=True, slots=True)
class ClientField:
    """A field's name over GraphQL, and how its values change on the way in and out, where they do.

    `null_is_default`: a default that GraphQL can't print; the field is nullable, and null leaves it out.
    """

    name: str
    model: "ClientModel | None" = None
    null_is_default: bool = False
    read: Convert | None = None
    show: Convert | None = None


@dataclass(slots=True, eq=False)
class ClientModel:
    """A model as clients see it: its GraphQL type, and its fields by the model's own names."""

    type: Any
    name: str
    fields: dict[str, ClientField] = field(default_factory=dict)

    def from_client(self, value: Mapping[str, Any]) -> JSON:
        """What a client sent, as GraphQL has read it, as JSON by the model's field names."""
        return {
            name: field.read(item) if field.read and item is not None else item
            for name, field in self.fields.items()
            if field.name in value and not ((item := value[field.name]) is None and field.null_is_default)
        }

    def to_client(self, value: JSON) -> JSON:
        """What is stored, as a client would send it. What the model no longer has stays as it is."""
        return dict(self._shown(value)) if isinstance(value, dict) else value

    def client_path(self, path: Sequence[str]) -> tuple[str, ...]:
        """A path into the model as a path into what the client sent."""
        if not path:
            return ()
        step, *rest = path
        field = self.fields.get(step)
        if field is None:  # an index, or a place that only the model knows
            return (step, *self.client_path(rest))
        return (field.name, *(field.model.client_path(rest) if field.model else rest))

    def _shown(self, value: Mapping[str, JSON]) -> Iterator[tuple[str, JSON]]:
        for name, item in value.items():
            field = self.fields.get(name)
            if field is None:
                yield name, item
            else:
                yield field.name, field.show(item) if field.show else item


def reading(shape: Shape, model: ClientModel | None) -> Convert | None:
    """How a value that GraphQL has read becomes JSON; None where it is that already."""
    match shape:
        case Scalar.DATETIME:
            return written_moment
        case Scalar.JSON:
            return without_undefined
        case Choice():
            return chosen
        case Model():
            assert model is not None
            return model.from_client
        case Nullable(of):
            return reading(of, model)
        case ListOf(item):
            return each(reading(item, model))
        case _:
            return None


def showing(shape: Shape, model: ClientModel | None) -> Convert | None:
    """How stored JSON becomes what a client would send; None where it is that already."""
    match shape:
        case Scalar.BIG_INT:
            return written_number
        case Choice():
            return named({value: name for name, value in shape.values.items()})
        case Model():
            assert model is not None
            return model.to_client
        case Nullable(of):
            return showing(of, model)
        case ListOf(item):
            return each(showing(item, model))
        case _:
            return None


def each(convert: Convert | None) -> Convert | None:
    """For a list what `convert` is for one of it. Null stays null."""
    if convert is None:
        return None

    def convert_each(value: Any) -> JSON:
        if not isinstance(value, list):
            return value
        return [item if item is None else convert(item) for item in value]

    return convert_each


def named(names: Mapping[JSON, str]) -> Convert:
    def name_of(value: JSON) -> JSON:
        return names.get(value, value) if isinstance(value, str | int | float) else value

    return name_of


def written_moment(value: datetime | str) -> str:
    """A field's default is in writing already."""
    return value if isinstance(value, str) else value.isoformat()


def chosen(value: Any) -> JSON:
    """A field's default is the value already."""
    return value.value if isinstance(value, Enum) else value


def written_number(value: JSON) -> JSON:
    return str(value) if isinstance(value, int) else value
