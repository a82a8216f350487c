"""What a handler's annotations say of its values as JSON: the form that is stored, and shown to clients.

Invariant: a shape says all that a client needs to know of a value; Python's own types end here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from types import NoneType
from typing import Any

from taskql.task import JSON


class Scalar(StrEnum):
    """A value without parts, called as clients call it."""

    STRING = "String"
    INT = "Int"
    FLOAT = "Float"
    BOOLEAN = "Boolean"
    DATETIME = "DateTime"
    DATE = "Date"
    TIME = "Time"
    UUID = "UUID"
    DECIMAL = "Decimal"
    BIG_INT = "BigInt"
    JSON = "JSON"


@dataclass(frozen=True, slots=True)
class Nullable:
    of: "Shape"


@dataclass(frozen=True, slots=True)
class ListOf:
    item: "Shape"


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """One of some values, by the names that clients use; of an Enum class, or else of a Literal."""

    values: Mapping[str, JSON]
    enum: type[Enum] | None = None


class Missing(Enum):
    """Why a field has no default that can be shown."""

    REQUIRED = "it must be given"
    UNPRINTABLE = "it has a default that only Python knows"


@dataclass(frozen=True, slots=True)
class Field:
    shape: "Shape"
    description: str | None = None
    default: JSON | Missing = Missing.REQUIRED


@dataclass(slots=True, eq=False)
class Model:
    """An object; its fields by the model's own names, in order. It may hold itself through a list or null."""

    type: type
    fields: dict[str, Field] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A result that is one of several models; its JSON says in `__typename` which."""

    members: tuple[Model, ...]


Shape = Scalar | Nullable | ListOf | Choice | Model


@dataclass(frozen=True, slots=True)
class Result:
    """What a handler returns: a model, one of several, or a value that is no object."""

    shape: "Shape | AnyOf"
    nullable: bool = False


class Inexpressible(ValueError):
    """What a handler's annotations say can't be shown to clients; the text has the cause and a way out."""


def place_of(type_: Any) -> str:
    return f"{type_.__module__}.{type_.__qualname__}"


def written(annotation: Any) -> str:
    """An annotation as its author wrote it, more or less."""
    if annotation is NoneType:
        return "None"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
