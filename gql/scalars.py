"""Scalars and ids: how times, numbers and ids are written in requests and responses.

What handlers take and return is JSON on both sides: their scalars check what is sent, and leave it text.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import strawberry
from graphql import (
    FloatValueNode,
    GraphQLError,
    IntValueNode,
    StringValueNode,
    ValueNode,
    value_from_ast_untyped,
)
from strawberry.types.scalar import ScalarDefinition

from gql.errors import BadUserInput
from taskql.storable import UNSTORABLE_TEXT, is_storable

CANONICAL_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
EXAMPLE_ID = "0198c5a4-6f1e-7b3c-9d2a-4e8f10b7c6d5"
MAX_QUOTED_CHARS = 60


def parse_task_id(text: str) -> UUID:
    """A task's id from its canonical text; `UUID()` alone takes braces, `urn:uuid:` and bare digits too."""
    if not CANONICAL_UUID.fullmatch(text):
        raise BadUserInput(f"{quoted(text)} is not a task id; ids look like {EXAMPLE_ID}.")
    return UUID(text)


def parse_datetime(value: object) -> datetime:
    """A moment. Raises GraphQLError where it is not ISO 8601, or names no time zone."""
    if not isinstance(value, str):
        raise GraphQLError("A DateTime is a string like 2026-11-22T09:30:00Z.")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise GraphQLError(
            f"{quoted(value)} is not an ISO 8601 time; write it like 2026-11-22T09:30:00Z."
        ) from None
    raise GraphQLError(f"{quoted(value)} has no time zone; add Z for UTC or an offset like +01:00.")


def parse_datetime_literal(node: ValueNode, _variables: object = None) -> datetime:
    try:
        return parse_datetime(value_from_ast_untyped(node))
    except GraphQLError as error:
        raise GraphQLError(error.message, node) from None


def serialize_datetime(moment: datetime | str) -> str:
    """A moment of our own, or one as it is stored in a handler's result."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def checked_text(argument: str, text: str) -> str:
    """The text, where it can be compared with what is stored; PostgreSQL would choke on the rest."""
    if not is_storable(text):
        raise BadUserInput(f"`{argument}` {UNSTORABLE_TEXT}.")
    return text


def quoted(text: str) -> str:
    return repr(text if len(text) <= MAX_QUOTED_CHARS else text[:MAX_QUOTED_CHARS] + "…")


DATETIME: ScalarDefinition = strawberry.scalar(
    name="DateTime",
    description=(
        "A moment in ISO 8601, with a time zone: `2026-11-22T09:30:00Z` or `2026-11-22T10:30:00+01:00`. "
        "Input without a time zone is refused; output is in UTC, with microseconds."
    ),
    parse_value=parse_datetime,
    parse_literal=parse_datetime_literal,
    serialize=serialize_datetime,
)


class BigInt:
    """Stands for the scalar BigInt in the types of fields."""


class Url:
    """Stands for the scalar URL in the types of fields."""


def text_scalar(
    name: str, description: str, parse: Callable[[object], Any], example: str
) -> ScalarDefinition:
    """A scalar that is a string on the wire, checked by `parse`, which raises ValueError."""

    def parse_value(value: object) -> Any:
        try:
            return parse(value)
        except (ValueError, OverflowError):
            raise GraphQLError(f"A {name} is a string like {example}.") from None

    def parse_literal(node: ValueNode, _variables: object = None) -> Any:
        try:
            return parse_value(node.value if isinstance(node, WRITTEN) else None)
        except GraphQLError as error:
            raise GraphQLError(error.message, node) from None

    return strawberry.scalar(
        name=name,
        description=description,
        parse_value=parse_value,
        parse_literal=parse_literal,
        serialize=str,
    )


WRITTEN = (StringValueNode, IntValueNode, FloatValueNode)


def text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def parse_decimal(value: object) -> str:
    """A number in JSON may have been rounded on its way, unless it is an integer."""
    written = str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)
    if not DECIMAL.fullmatch(written):
        raise ValueError
    return written


def parse_big_int(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not INTEGER.fullmatch(written := text(value)):
        raise ValueError
    return int(written)


def parse_uuid(value: object) -> str:
    if not CANONICAL_UUID.fullmatch(written := text(value)):
        raise ValueError
    return written.lower()


DECIMAL = re.compile(r"[+-]?[0-9]{1,1000}(\.[0-9]{1,1000})?([eE][+-]?[0-9]{1,4})?")
INTEGER = re.compile(r"[+-]?[0-9]{1,1000}")

SCALARS: Mapping[object, ScalarDefinition] = {
    datetime: DATETIME,
    date: text_scalar(
        "Date",
        "A day in ISO 8601, without a time: `2026-11-22`.",
        lambda value: date.fromisoformat(text(value)).isoformat(),
        '"2026-11-22"',
    ),
    time: text_scalar(
        "Time",
        "A time of day in ISO 8601, with or without an offset: `09:30:00`.",
        lambda value: time.fromisoformat(text(value)).isoformat(),
        '"09:30:00"',
    ),
    UUID: text_scalar(
        "UUID", f"A UUID in its canonical text: `{EXAMPLE_ID}`.", parse_uuid, f'"{EXAMPLE_ID}"'
    ),
    Decimal: text_scalar(
        "Decimal",
        'An exact decimal number, as a string: `"12.50"`. No NaN, no Infinity.',
        parse_decimal,
        '"12.50"',
    ),
    BigInt: text_scalar(
        "BigInt",
        'An integer of any size, as a string: `"9007199254740993"`. Input may also be a number.',
        parse_big_int,
        '"9007199254740993"',
    ),
    Url: text_scalar("URL", "A web address.", text, '"https://example.com/"'),
}
"""Ours, by the types that stand for them in the types of fields."""
