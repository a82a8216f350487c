"""Choices: Enum classes and Literals of texts, and the names that clients use for their values."""

import re
from collections.abc import Mapping
from enum import Enum, Flag
from typing import Any

from pydantic import TypeAdapter

from taskql.shapes.shape import Choice, Inexpressible, Nullable, Shape, written
from taskql.task import JSON

GRAPHQL_NAME = re.compile(r"(?!__)[_A-Za-z][_0-9A-Za-z]*")
NO_VALUES = frozenset({"true", "false", "null"})
NEW_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^0-9A-Za-z]+")


def choice_of_enum(enum: type[Enum], where: str) -> Choice:
    if issubclass(enum, Flag):
        raise Inexpressible(
            f"{where} is the Flag {enum.__name__}, whose combinations are no members; take a list of an Enum"
        )
    if not len(enum):
        raise Inexpressible(f"{where} is {enum.__name__}, an Enum without members; give it some")
    for name in enum.__members__:
        if not GRAPHQL_NAME.fullmatch(name) or name in NO_VALUES:
            raise Inexpressible(
                f"{where} is {enum.__name__}, whose member {name!r} is no name in GraphQL; use ASCII letters "
                "and digits, and no two underscores in front"
            )
    return Choice(values_of(enum, where), enum)


def values_of(enum: type[Enum], where: str) -> Mapping[str, JSON]:
    adapter = TypeAdapter(enum)
    values = {}
    for member in enum:
        try:
            value = adapter.dump_python(member, mode="json", warnings="error")
            kept = isinstance(value, str | int | float) and adapter.validate_python(value) is member
        except Exception:  # whatever an enum's own code may raise
            kept, value = False, None
        if not kept:
            raise Inexpressible(
                f"{where} is {enum.__name__}, whose member {member.name} is {member.value!r}, which can't "
                "be stored as it is; use texts or numbers"
            )
        values[member.name] = value
    return values


def choice_of_texts(texts: tuple[Any, ...], where: str) -> Shape:
    """A Literal's texts; with None among them, null is one more."""
    present = [text for text in texts if text is not None]
    names: dict[str, str] = {}
    for text in present:
        if not isinstance(text, str) or isinstance(text, Enum):
            raise Inexpressible(
                f"{where} is a Literal with {written(text)} in it, and GraphQL's choices are names; use "
                "texts, or an Enum"
            )
        name = upper_snake(text)
        if not GRAPHQL_NAME.fullmatch(name):
            raise Inexpressible(
                f"{where} is a Literal with {text!r} in it, which makes no name in GraphQL; use an Enum"
            )
        if names.setdefault(name, text) != text:
            raise Inexpressible(
                f"{where} is a Literal in which {names[name]!r} and {text!r} would both be {name} in "
                "GraphQL; use an Enum"
            )
    if not names:
        raise Inexpressible(f"{where} is None alone, which tells a client nothing; leave it out")
    choice = Choice(names)
    return Nullable(choice) if None in texts else choice


def upper_snake(text: str) -> str:
    """IN_PROGRESS for `in progress`, `in-progress` and `inProgress`."""
    return NEW_WORD.sub("_", text).upper()
