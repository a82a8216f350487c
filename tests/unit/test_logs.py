"""Logging of our processes."""

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError

from gql.errors import BadUserInput
from taskql.errors import Unavailable
from taskql.logs import QUIET, JsonLines, TextLines, format_in_use, set_up_logging
from taskql.marks import attempt_marked, begin_operation, begin_request
from tests.unit.scripted import a_task

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
TASK_ID = UUID("0198c5a4-6f1e-7b3c-9d2a-4e8f10b7c6d5")
MARK = "top-secret-4711"


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """All levels and handlers are afterwards as they were."""
    loggers = [logging.getLogger(name) for name in (None, *QUIET)]
    before = [logger.level for logger in loggers]
    handlers = [*loggers[0].handlers]
    yield loggers[0]
    loggers[0].handlers[:] = handlers
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture
def written(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is on standard error, where nobody has set up logging before."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    root.handlers.clear()
    return written


def fail(error: Callable[[], object], logger: str = "gql.view") -> None:
    try:
        error()
    except Exception:
        logging.getLogger(logger).exception("it broke")


class Wanted(BaseModel):
    number: int


def quote_input() -> None:
    Wanted.model_validate({"number": MARK})


def quote_parameters() -> None:
    raise DBAPIError("SELECT $1", {"title": MARK}, Exception(f"Failing row contains ({MARK})"))


def quote_a_document() -> None:
    raise BadUserInput(f'"{MARK}" is no number')


def follow_a_quotation() -> None:
    try:
        int(MARK)
    except ValueError as error:
        raise Unavailable("PostgreSQL does not answer") from error


@pytest.mark.parametrize("level", ["debug", "info", "error"])
def test_the_level_is_ours_where_somebody_set_up_logging_before_us(level: str) -> None:
    """Lambda's runtime has; pytest too."""
    assert logging.getLogger().handlers
    logging.getLogger().setLevel(logging.WARNING)
    set_up_logging(level)
    assert logging.getLogger().level == logging.getLevelName(level.upper())


def test_chatty_libraries_are_shown_from_warnings_up() -> None:
    set_up_logging("debug")
    for name in ("botocore", "sqlalchemy", "websockets", "uvicorn", "httpcore"):
        assert logging.getLogger(name).level == logging.WARNING


def test_a_line_of_text_says_what_happened_and_whose_it_is(written: io.StringIO) -> None:
    set_up_logging("info")
    assert format_in_use() == "text"
    logging.getLogger("gql").info("serving")
    begin_request(b"my-request", TRACEPARENT.encode())
    begin_operation("Create")
    logging.getLogger("gql").warning("one\nand two")
    first, second = written.getvalue().splitlines()
    assert first.endswith(" INFO gql: serving")
    expected = f" WARNING gql: one\\nand two [request_id=my-request operation=Create trace_id={TRACE_ID}]"
    assert second.endswith(expected)


def test_a_line_of_json_is_one_object_with_all_that_is_known(written: io.StringIO) -> None:
    set_up_logging("info", "json")
    assert format_in_use() == "json"
    with attempt_marked(a_task(TASK_ID), TRACEPARENT):
        logging.getLogger("task.test").info("one\nand %s", "two", extra={"rows": 3, "when": TASK_ID})
    line = json.loads(written.getvalue())
    assert list(line)[:4] == ["time", "level", "logger", "message"]
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "task.test",
        "message": "one\nand two",
        "task_id": str(TASK_ID),
        "kind": "test",
        "attempt": 1,
        "trace_id": TRACE_ID,
        "rows": 3,
        "when": str(TASK_ID),
    }


def test_what_a_record_says_itself_is_not_told_twice(written: io.StringIO) -> None:
    set_up_logging("info")
    names = {"task_id": "its own", "kind": "its own", "attempt": 7}
    with attempt_marked(a_task(TASK_ID), TRACEPARENT):
        logging.getLogger("task.test").info("said", extra=names)
    assert written.getvalue().endswith(f"said [trace_id={TRACE_ID}]\n")


@pytest.mark.parametrize("value", [float("nan"), {1: 2, (3,): 4}])
def test_a_line_is_written_whatever_a_handler_puts_into_it(written: io.StringIO, value: object) -> None:
    set_up_logging("info", "json")
    logging.getLogger("task.test").info("said", extra={"odd": value})
    assert json.loads(written.getvalue())["odd"] == str(value)


def test_logging_may_be_set_up_by_somebody_else_and_is_json_all_the_same(
    root: logging.Logger, written: io.StringIO
) -> None:
    """Lambda's runtime."""
    theirs = logging.StreamHandler(written)
    root.addHandler(theirs)
    set_up_logging("info", "json")
    logging.getLogger("consumer").info("ready")
    assert json.loads(written.getvalue())["message"] == "ready"


@pytest.mark.parametrize("lines", [TextLines, JsonLines])
@pytest.mark.parametrize("error", [quote_input, quote_parameters, quote_a_document, follow_a_quotation])
def test_a_traceback_has_the_way_to_an_error_and_none_of_the_values_that_it_quotes(
    written: io.StringIO, error: Callable[[], None], lines: type[logging.Formatter]
) -> None:
    set_up_logging("debug", "json" if lines is JsonLines else "text")
    fail(error)
    assert MARK not in written.getvalue()
    assert f"in {error.__name__}" in written.getvalue()
    assert "its words are not logged" in written.getvalue()


def test_our_own_errors_and_those_of_the_system_are_told_in_full(written: io.StringIO) -> None:
    set_up_logging("info")
    fail(follow_a_quotation)
    fail(lambda: open("/nowhere/at/all"))  # noqa: PTH123, SIM115
    fail(lambda: "a" + 1)  # type: ignore[operator]
    assert "taskql.errors.Unavailable: PostgreSQL does not answer" in written.getvalue()
    assert "direct cause" in written.getvalue()
    assert "FileNotFoundError: [Errno 2]" in written.getvalue()
    assert "TypeError: can only concatenate" in written.getvalue()


def test_a_handler_s_exceptions_are_in_its_author_s_words(written: io.StringIO) -> None:
    set_up_logging("info")
    fail(lambda: int("an author's value"), "consumer.attempt")
    fail(lambda: int("another value"), "somebody.elses")
    assert "an author's value" in written.getvalue()
    assert "another value" in written.getvalue()
    fail(quote_input, "consumer.child")
    assert MARK not in written.getvalue()


def test_errors_that_belong_together_are_told_together(written: io.StringIO) -> None:
    set_up_logging("info")

    def both() -> None:
        raise ExceptionGroup("two of them", [OSError("the first"), ValueError(MARK)])

    fail(both)
    assert "two of them (2 sub-exceptions)" in written.getvalue()
    assert "OSError: the first" in written.getvalue()
    assert MARK not in written.getvalue()
