"""Retry policy: pure. No clock is read here, and chance comes in as an argument."""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta

from taskql.errors import InvalidInput, Permanent, Retryable, TaskQLError
from taskql.failures import class_name, declared_class, declared_failure, readable, text_of
from taskql.outcome import Failed, Retry
from taskql.task import MAX_FAILURE_CHARS, Failure

BACKOFF_BASE = timedelta(seconds=1)
BACKOFF_CAP = timedelta(minutes=5)
MAX_RETRY_DELAY = timedelta(days=365)
CRASHED = "CRASHED"
"""The code of a failure that took a process along: the handler's own, or the worker."""


class TimedOut(TaskQLError):
    """The handler ran into its time limit."""


class Crashed(TaskQLError):
    """The handler's own process ended without an outcome; the text says how."""


class RaisedElsewhere(TaskQLError):
    """What a handler raised in a process of its own, where `describe` and `delay_asked` judged it."""

    def __init__(self, failure: Failure, after: timedelta | None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.after = after


class BadResult(Exception):
    """What the handler returned can't be stored; the text says why."""


class ResultTooLarge(BadResult):
    """What the handler returned is more than we keep."""


class BadFollowUp(ValueError):
    """A handler asked for a task that can't be created; the text says why."""


def describe(
    error: BaseException, declared: Collection[type[BaseException]] = (), *, expose: bool = False
) -> Failure:
    """The failure that a client may see of an attempt that `error` ended.

    The text of our own exceptions and the fields of the `declared` ones are shown; of any other the name of
    its class, and its text only where the deployment wants to `expose` it.
    """
    if found := declared_class(error, declared):
        return declared_failure(error, found)
    match error:
        case Permanent():
            return Failure("PERMANENT", shown(error), retryable=False)
        case Retryable():
            return Failure("RETRYABLE", shown(error), retryable=True)
        case TimedOut():
            return Failure("TIMEOUT", shown(error), retryable=True)
        case Crashed():
            return Failure(CRASHED, shown(error), retryable=True)
        case RaisedElsewhere():
            return error.failure
        case InvalidInput():
            message = f"The handler no longer accepts this task's input: {shown(error)}"
            return Failure("INVALID_INPUT", message[:MAX_FAILURE_CHARS], retryable=False)
        case ResultTooLarge():
            return Failure("RESULT_TOO_LARGE", shown(error), retryable=False)
        case BadResult():
            return Failure("INVALID_RESULT", shown(error), retryable=False)
        case BadFollowUp():
            return Failure("INVALID_FOLLOW_UP", shown(error), retryable=False)
        case _:
            message = exposed(error) if expose else f"The handler raised {class_name(error)}."
            return Failure("EXCEPTION", readable(message), retryable=True)


def shown(error: BaseException) -> str:
    """An exception's text as PostgreSQL can hold it and a client may read it; its name if it has no text."""
    return readable(text_of(error)) or class_name(error)


def exposed(error: BaseException) -> str:
    """`KeyError: 'x'`, as Python's own tracebacks end."""
    text = text_of(error)
    return f"{class_name(error)}: {text}" if text else class_name(error)


def plan_retry(
    tries: int,
    max_tries: int,
    error: BaseException,
    jitter: Callable[[], float],
    declared: Collection[type[BaseException]] = (),
    *,
    expose: bool = False,
) -> Retry | Failed:
    """Whether and when to run the task again after `error` ended the latest of `tries`.

    `jitter` gives a float in [0, 1): the share of the full back-off that is waited.
    """
    failure = describe(error, declared, expose=expose)
    if not failure.retryable:
        return Failed(failure)
    if tries >= max_tries:
        return Failed(exhausted(failure))
    asked = delay_asked(error)
    return Retry(failure, backoff(tries) * jitter() if asked is None else asked)


def delay_asked(error: BaseException) -> timedelta | None:
    """How long the handler itself wants to wait for the next attempt, within bounds."""
    if not isinstance(error, Retryable | RaisedElsewhere) or not isinstance(error.after, timedelta):
        return None  # a declared failure may have a field of that name
    return min(max(error.after, timedelta(0)), MAX_RETRY_DELAY)


def exhausted(failure: Failure) -> Failure:
    """The last attempt's failure as the task's own: ordinary exceptions become ATTEMPTS_EXHAUSTED."""
    code = "ATTEMPTS_EXHAUSTED" if failure.code in ("EXCEPTION", "RETRYABLE") else failure.code
    return replace(failure, code=code)


def backoff(tries: int) -> timedelta:
    """The longest wait after so many tries (from 1): doubling from a second up to five minutes."""
    doublings: int = min(tries, 20) - 1
    return min(BACKOFF_BASE * float(2**doublings), BACKOFF_CAP)
