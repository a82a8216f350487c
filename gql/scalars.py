"""Scalars and ids: how times and task ids are written in requests and responses."""

import re
from datetime import UTC, datetime
from uuid import UUID

import strawberry
from graphql import GraphQLError, ValueNode, value_from_ast_untyped
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


def serialize_datetime(moment: datetime) -> str:
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
