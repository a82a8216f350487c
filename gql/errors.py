"""The one place where errors become GraphQL.

Invariant: every top-level error that leaves has `extensions.code`, and none tells of our insides: what nobody
foresaw is INTERNAL with an id, and the log has the traceback under the same id.
"""

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import uuid4

from graphql import GraphQLError, GraphQLFormattedError, Node

from taskql.errors import InvalidInput, NotFound, Unavailable

MAX_MESSAGE_CHARS = 1_000

logger = logging.getLogger(__name__)


class ErrorCode(StrEnum):
    """The values of `extensions.code`."""

    BAD_USER_INPUT = "BAD_USER_INPUT"
    NOT_FOUND = "NOT_FOUND"
    TOO_COMPLEX = "TOO_COMPLEX"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


class BadUserInput(GraphQLError):
    """What a client sent can't be used; the message names the argument and says what to do."""

    def __init__(self, message: str, node: Node | None = None) -> None:
        super().__init__(printable(message), node, extensions={"code": ErrorCode.BAD_USER_INPUT.value})


class TooComplex(GraphQLError):
    """A document asks for more than one request may."""

    def __init__(self, message: str, node: Node | None = None) -> None:
        super().__init__(message, node, extensions={"code": ErrorCode.TOO_COMPLEX.value})


@dataclass(frozen=True, slots=True)
class Presentation:
    """How an error of ours is shown; without a message, by its own text."""

    code: ErrorCode
    message: str | None = None
    retryable: bool | None = None


PRESENTATIONS: dict[type[Exception], Presentation] = {
    InvalidInput: Presentation(ErrorCode.BAD_USER_INPUT),
    NotFound: Presentation(ErrorCode.NOT_FOUND),
    Unavailable: Presentation(
        ErrorCode.UNAVAILABLE,
        "A service that TaskQL needs does not answer at present; try again shortly.",
        retryable=True,
    ),
}


def presented(error: GraphQLError) -> GraphQLError:
    """The error as clients may see it. Presenting it again changes nothing."""
    if error.extensions and "code" in error.extensions:
        return error
    cause = root_cause(error)
    if known := next((shown for kind, shown in PRESENTATIONS.items() if isinstance(cause, kind)), None):
        if known.code is ErrorCode.UNAVAILABLE:
            logger.warning("unavailable: %s", cause)
        message = printable(known.message or str(cause))
        extensions: dict[str, Any] = {"code": known.code.value}
        if known.retryable is not None:
            extensions["retryable"] = known.retryable
        return located_like(error, message, extensions)
    if is_request_error(error):
        message = (
            error.message if isinstance(cause, GraphQLError) else "A value here can't be read as its type."
        )
        return located_like(error, printable(message), {"code": ErrorCode.BAD_USER_INPUT.value})
    return masked(error, cause)


def format_error(error: GraphQLError) -> GraphQLFormattedError:
    """The error as it goes into a response."""
    return presented(error).formatted


def masked(error: GraphQLError, cause: Exception) -> GraphQLError:
    incident = uuid4().hex
    logger.error("internal error %s at %s", incident, error.path, exc_info=cause)
    message = f"Something went wrong on our side; it is logged as {incident}."
    return located_like(error, message, {"code": ErrorCode.INTERNAL.value, "id": incident})


def root_cause(error: GraphQLError) -> Exception:
    cause: Exception = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def is_request_error(error: GraphQLError) -> bool:
    """Whether the document or its variables are at fault, rather than what ran for them.

    Before execution, graphql-core's errors point into the document or stand for themselves. During it, those
    of arguments name the argument's node; those of serializing our own values name none.
    """
    cause = root_cause(error)
    if error.path is None:
        return bool(error.locations) or isinstance(cause, GraphQLError)
    return isinstance(cause, GraphQLError) and bool(cause.nodes)


def located_like(error: GraphQLError, message: str, extensions: dict[str, Any]) -> GraphQLError:
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )


def printable(text: str) -> str:
    """The text as valid Unicode of bounded length: messages quote what clients sent, whatever it was."""
    return text[:MAX_MESSAGE_CHARS].encode("utf-8", "backslashreplace").decode()
