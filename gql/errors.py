"""The one place where errors become GraphQL.

Invariant: every top-level error that leaves has `extensions.code`, and none tells of our insides: what nobody
foresaw is INTERNAL with an id, and the log has the traceback under the same id.
"""

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar
from uuid import uuid4

from graphql import GraphQLError, GraphQLFormattedError, Node
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types.graphql import OperationType

from taskql.errors import InvalidInput, NotFound, TooLarge, Unavailable

MAX_MESSAGE_CHARS = 1_000

logger = logging.getLogger(__name__)


class ErrorCode(StrEnum):
    """The values of `extensions.code`."""

    BAD_USER_INPUT = "BAD_USER_INPUT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    RATE_LIMITED = "RATE_LIMITED"
    TOO_COMPLEX = "TOO_COMPLEX"
    TOO_LARGE = "TOO_LARGE"
    TIMEOUT = "TIMEOUT"
    UNAVAILABLE = "UNAVAILABLE"
    OUTDATED = "OUTDATED"
    INTERNAL = "INTERNAL"


class Coded(GraphQLError):
    """An error that says itself what it is. The message is for the client: it names what to do."""

    code: ClassVar[ErrorCode]

    def __init__(self, message: str, node: Node | None = None, **more: Any) -> None:
        super().__init__(printable(message), node, extensions={"code": self.code.value, **more})


class BadUserInput(Coded):
    """What a client sent can't be used; the message names the argument and says what to do."""

    code = ErrorCode.BAD_USER_INPUT


class Unauthenticated(Coded):
    """Nobody knows who asks: there is no token where one is needed, or the one that was given won't do."""

    code = ErrorCode.UNAUTHENTICATED

    def __init__(self, message: str, *, token_given: bool = False) -> None:
        super().__init__(message)
        self.token_given = token_given


class Forbidden(Coded):
    """Who asks may not; the message names the field and the scope that it takes."""

    code = ErrorCode.FORBIDDEN


class TooComplex(Coded):
    """A document asks for more than one request may."""

    code = ErrorCode.TOO_COMPLEX


class TimedOut(Coded):
    """An operation has taken longer than one may."""

    code = ErrorCode.TIMEOUT


class RateLimited(Coded):
    """Somebody asks too often, or has too much open already."""

    code = ErrorCode.RATE_LIMITED


class Full(Coded):
    """This process has as much open as it may."""

    code = ErrorCode.UNAVAILABLE


class Outdated(Coded):
    """What is stored was made by a handler that has changed since, and can't be shown as it is today."""

    code = ErrorCode.OUTDATED


@dataclass(frozen=True, slots=True)
class Presentation:
    """How an error is shown; without a message, by its own."""

    code: ErrorCode
    message: str | None = None
    retryable: bool = False


PRESENTATIONS: dict[type[Exception], Presentation] = {
    InvalidInput: Presentation(ErrorCode.BAD_USER_INPUT),
    MissingQueryError: Presentation(ErrorCode.BAD_USER_INPUT),
    CannotGetOperationTypeError: Presentation(ErrorCode.BAD_USER_INPUT),
    # Only a stream by GET gets this far with an operation of the wrong type.
    InvalidOperationTypeError: Presentation(ErrorCode.BAD_USER_INPUT, "A mutation needs a POST request."),
    NotFound: Presentation(ErrorCode.NOT_FOUND),
    TooLarge: Presentation(ErrorCode.TOO_LARGE),
    Unavailable: Presentation(
        ErrorCode.UNAVAILABLE,
        "A service that TaskQL needs does not answer at present; try again shortly.",
        retryable=True,
    ),
}
UNREADABLE = Presentation(ErrorCode.BAD_USER_INPUT, "A value here can't be read as its type.")
GRAPHQL_CORE_LIMITS = (
    "Document contains more than",
    "Document is nested too deeply",
    "Maximum introspection depth exceeded",
)
"""What graphql-core says where a limit of its own is exceeded; it has no codes."""


NOT_ONE_KIND = "OneOf Input Object 'TaskWorkInput' must specify exactly one key."
ONE_KIND = "`work` takes exactly one kind, like {compute: {numbers: [1]}}; the query `kinds` lists them."
"""graphql-core's words, and what a caller can do with."""


def presented(error: GraphQLError) -> GraphQLError:
    """The error as clients may see it. Presenting it again changes nothing."""
    if error.extensions and "code" in error.extensions:
        return error
    cause = root_cause(error)
    shown = presentation(error, cause)
    if shown is None:
        return masked(error, cause)
    if shown.code is ErrorCode.UNAVAILABLE:
        logger.warning("Answered UNAVAILABLE: %s", cause)
    extensions: dict[str, Any] = {"code": shown.code.value}
    if shown.retryable:
        extensions["retryable"] = True
    message = (shown.message or error.message).replace(NOT_ONE_KIND, ONE_KIND)
    return located_like(error, printable(message), extensions)


def format_error(error: GraphQLError) -> GraphQLFormattedError:
    """The error as it goes into a response."""
    return presented(error).formatted


def presentation(error: GraphQLError, cause: Exception) -> Presentation | None:
    """How an error that somebody foresaw is shown."""
    for kind, shown in PRESENTATIONS.items():
        if isinstance(cause, kind):
            return shown
    if not is_request_error(error):
        return None
    if any(limit in error.message for limit in GRAPHQL_CORE_LIMITS):
        return Presentation(ErrorCode.TOO_COMPLEX)
    return Presentation(ErrorCode.BAD_USER_INPUT) if isinstance(cause, GraphQLError) else UNREADABLE


def masked(error: GraphQLError, cause: Exception) -> GraphQLError:
    incident = logged(f"Answered INTERNAL at {error.path}", cause)
    message = f"Something went wrong on our side; it is logged as {incident}."
    return located_like(error, message, {"code": ErrorCode.INTERNAL.value, "id": incident})


def logged(what: str, error: Exception) -> str:
    """Log what nobody foresaw; answers the id under which a client's answer and the log have it."""
    incident = uuid4().hex
    logger.error("%s: %s", what, incident, exc_info=error)
    return incident


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


def going_away() -> Unavailable:
    return Unavailable("This server is stopping; subscribe again.")


def timed_out(seconds: float, operation_type: OperationType) -> "TimedOut":
    done = "Ask for less, or try again later."
    if operation_type is OperationType.MUTATION:
        done = "It may have been done all the same: look, or send it again with the same idempotencyKey."
    return TimedOut(f"This took longer than {seconds:g} s and was given up. {done}", retryable=True)
