"""Retry policy: pure. No clock is read here, and chance comes in as an argument."""

from collections.abc import Callable
from datetime import timedelta

from taskql.errors import InvalidInput, Permanent, Retryable, TaskQLError
from taskql.outcome import Failed, Retry
from taskql.storable import storable
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


def describe(error: BaseException) -> Failure:
    """The failure that a client may see: the text of our own exceptions, the class name of any other."""
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
        case _:
            return Failure("EXCEPTION", f"The handler raised {type(error).__name__}.", retryable=True)


def shown(error: BaseException) -> str:
    """An exception's text as PostgreSQL can hold it and a client may read it."""
    try:
        text = str(error)
    except Exception:  # a handler's own class may not know how to say it
        text = ""
    return storable(text)[:MAX_FAILURE_CHARS] or type(error).__name__


def plan_retry(
    tries: int, max_tries: int, error: BaseException, jitter: Callable[[], float]
) -> Retry | Failed:
    """Whether and when to run the task again after `error` ended the latest of `tries`.

    `jitter` gives a float in [0, 1): the share of the full back-off that is waited.
    """
    failure = describe(error)
    if not failure.retryable:
        return Failed(failure)
    if tries >= max_tries:
        return Failed(exhausted(failure))
    asked = delay_asked(error)
    return Retry(failure, backoff(tries) * jitter() if asked is None else asked)


def delay_asked(error: BaseException) -> timedelta | None:
    """How long the handler itself wants to wait for the next attempt, within bounds."""
    if not isinstance(error, Retryable | RaisedElsewhere) or error.after is None:
        return None
    return min(max(error.after, timedelta(0)), MAX_RETRY_DELAY)


def exhausted(failure: Failure) -> Failure:
    """The last attempt's failure as the task's own: ordinary exceptions become ATTEMPTS_EXHAUSTED."""
    code = "ATTEMPTS_EXHAUSTED" if failure.code in ("EXCEPTION", "RETRYABLE") else failure.code
    return Failure(code, failure.message, retryable=True)


def backoff(tries: int) -> timedelta:
    """The longest wait after so many tries (from 1): doubling from a second up to five minutes."""
    doublings: int = min(tries, 20) - 1
    return min(BACKOFF_BASE * float(2**doublings), BACKOFF_CAP)
