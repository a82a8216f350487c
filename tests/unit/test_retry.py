"""What follows a failed attempt: whether, when, and what the task's owner reads."""

from datetime import timedelta

import pytest

from taskql.errors import InvalidInput, Permanent, Retryable
from taskql.outcome import Failed, Retry
from taskql.retry import (
    BACKOFF_CAP,
    MAX_RETRY_DELAY,
    BadResult,
    Crashed,
    RaisedElsewhere,
    ResultTooLarge,
    TimedOut,
    backoff,
    describe,
    plan_retry,
)
from taskql.task import MAX_FAILURE_CHARS, Failure

SECOND = timedelta(seconds=1)


def full() -> float:
    """The jitter that waits the whole back-off."""
    return 1.0


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (Permanent("no such file"), Failure("PERMANENT", "no such file", False)),
        (Retryable("busy"), Failure("RETRYABLE", "busy", True)),
        (Retryable("busy", after=SECOND), Failure("RETRYABLE", "busy", True)),
        (TimedOut("too long"), Failure("TIMEOUT", "too long", True)),
        (Crashed("killed by SIGSEGV"), Failure("CRASHED", "killed by SIGSEGV", True)),
        (RaisedElsewhere(Failure("PERMANENT", "no", False), None), Failure("PERMANENT", "no", False)),
        (
            InvalidInput((("x",), "is no number")),
            Failure(
                "INVALID_INPUT", "The handler no longer accepts this task's input: x: is no number", False
            ),
        ),
        (BadResult("no model"), Failure("INVALID_RESULT", "no model", False)),
        (ResultTooLarge("too much"), Failure("RESULT_TOO_LARGE", "too much", False)),
        (ValueError("password=secret"), Failure("EXCEPTION", "The handler raised ValueError.", True)),
        (SystemExit(3), Failure("EXCEPTION", "The handler raised SystemExit.", True)),
        (KeyboardInterrupt(), Failure("EXCEPTION", "The handler raised KeyboardInterrupt.", True)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_an_error_becomes(error: BaseException, failure: Failure) -> None:
    assert describe(error) == failure


def test_the_text_of_an_ordinary_exception_is_shown_to_nobody() -> None:
    for error in (RuntimeError("secret"), KeyError("secret"), OSError(2, "secret", "/secret/path")):
        for attempt in (1, 3):
            assert "secret" not in str(plan_retry(attempt, 3, error, full))


class Strange(BaseException):
    def __str__(self) -> str:
        raise RuntimeError("no text today")


@pytest.mark.parametrize(
    ("error", "hidden", "exposed"),
    [
        (KeyError("x"), "The handler raised KeyError.", "KeyError: 'x'"),
        (ValueError(), "The handler raised ValueError.", "ValueError"),
        (SystemExit(3), "The handler raised SystemExit.", "SystemExit: 3"),
        (
            ExceptionGroup("two", [ValueError("x"), Permanent("y")]),
            "The handler raised ExceptionGroup.",
            "ExceptionGroup: two (2 sub-exceptions)",
        ),
        (Strange(), "The handler raised Strange.", "Strange"),
        (ValueError("a\x00b\ud800"), "The handler raised ValueError.", "ValueError: a\ufffdb\ufffd"),
        (
            type("see: p@ssword", (Exception,), {})("x"),
            "The handler raised an exception without a name.",
            "an exception without a name: x",
        ),
    ],
    ids=repr,
)
def test_only_a_deployment_that_says_so_shows_the_text_of_any_exception(
    error: BaseException, hidden: str, exposed: str
) -> None:
    assert describe(error) == Failure("EXCEPTION", hidden, retryable=True)
    assert describe(error, expose=True) == Failure("EXCEPTION", exposed, retryable=True)
    outcome = plan_retry(3, 3, error, full, expose=True)
    assert outcome == Failed(Failure("ATTEMPTS_EXHAUSTED", exposed, retryable=True))


def test_an_exposed_text_is_cut() -> None:
    assert (
        describe(ValueError("x" * 3000), expose=True).message
        == f"ValueError: {'x' * 3000}"[:MAX_FAILURE_CHARS]
    )


def test_where_an_exception_came_from_is_shown_to_nobody() -> None:
    error = ValueError("shown")
    error.__cause__ = KeyError("secret")
    assert describe(error, expose=True).message == "ValueError: shown"


@pytest.mark.parametrize("error", [Permanent("no"), BadResult("no"), ResultTooLarge("no")])
def test_what_trying_again_would_not_help_fails_at_the_first_attempt(error: Exception) -> None:
    assert plan_retry(1, 3, error, full) == Failed(describe(error))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("x"), "ATTEMPTS_EXHAUSTED"),
        (Retryable("x"), "ATTEMPTS_EXHAUSTED"),
        (Retryable("x", after=SECOND), "ATTEMPTS_EXHAUSTED"),
        (TimedOut("x"), "TIMEOUT"),
        (Crashed("x"), "CRASHED"),
        (RaisedElsewhere(Failure("EXCEPTION", "x", True), SECOND), "ATTEMPTS_EXHAUSTED"),
    ],
)
def test_the_last_attempt_fails_the_task(error: Exception, code: str) -> None:
    for attempt, most in ((3, 3), (1, 1), (4, 3)):
        outcome = plan_retry(attempt, most, error, full)
        assert outcome == Failed(Failure(code, describe(error).message, retryable=True))
    assert isinstance(plan_retry(2, 3, error, full), Retry)


@pytest.mark.parametrize(
    ("attempt", "seconds"),
    [(1, 1), (2, 2), (3, 4), (4, 8), (8, 128), (9, 256), (10, 300), (11, 300), (100, 300), (10**9, 300)],
)
def test_the_back_off_doubles_from_a_second_to_five_minutes(attempt: int, seconds: int) -> None:
    assert backoff(attempt) == timedelta(seconds=seconds)


@pytest.mark.parametrize("attempt", [1, 2, 5, 20, 99])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.999])
def test_jitter_takes_a_share_of_the_back_off(attempt: int, share: float) -> None:
    outcome = plan_retry(attempt, 100, ValueError(), lambda: share)
    assert isinstance(outcome, Retry)
    assert outcome.delay == backoff(attempt) * share
    assert timedelta(0) <= outcome.delay <= BACKOFF_CAP


def test_a_handler_that_says_when_is_heard_without_jitter() -> None:
    after = timedelta(minutes=7, microseconds=1)
    outcome = plan_retry(1, 3, Retryable("busy", after=after), lambda: pytest.fail("chance was asked"))
    assert outcome == Retry(Failure("RETRYABLE", "busy", True), after)


@pytest.mark.parametrize(
    ("after", "delay"),
    [
        (timedelta(0), timedelta(0)),
        (timedelta(days=-1), timedelta(0)),
        (timedelta(days=365), MAX_RETRY_DELAY),
        (timedelta(days=366), MAX_RETRY_DELAY),
        (timedelta.max, MAX_RETRY_DELAY),
    ],
)
def test_a_handlers_delay_is_kept_within_bounds(after: timedelta, delay: timedelta) -> None:
    busy = Failure("RETRYABLE", "busy", retryable=True)
    for error in (Retryable("busy", after=after), RaisedElsewhere(busy, after)):
        assert plan_retry(1, 3, error, full) == Retry(busy, delay)


def test_a_long_text_is_cut() -> None:
    assert describe(Permanent("🚀" * 3000)).message == "🚀" * MAX_FAILURE_CHARS


@pytest.mark.parametrize(
    ("text", "shown"), [("a\x00b", "a\ufffdb"), ("a\ud800b", "a\ufffdb"), ("\x00" * 3000, "\ufffd" * 2000)]
)
def test_a_text_is_made_storable(text: str, shown: str) -> None:
    assert describe(Permanent(text)).message == shown


@pytest.mark.parametrize("error", [Permanent(), Permanent(""), Retryable()])
def test_an_error_without_text_shows_its_name(error: Exception) -> None:
    assert describe(error).message == type(error).__name__


def test_an_error_whose_text_cannot_be_made_shows_its_name() -> None:
    class Broken(Permanent):
        def __str__(self) -> str:
            raise RuntimeError("no text today")

    assert describe(Broken()) == Failure("PERMANENT", "Broken", False)
