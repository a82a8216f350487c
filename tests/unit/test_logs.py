"""Logging of our processes."""

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextvars import copy_context
from uuid import UUID

import pytest
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError

from gql.errors import BadUserInput
from taskql.errors import Unavailable
from taskql.logs import QUIET, JsonLines, LogFormat, TextLines, format_in_use, set_up_logging
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


class Written:
    """Standard error of a process that logs."""

    def __init__(self, root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.stderr = io.StringIO()
        self._monkeypatch = monkeypatch

    def begin(self, level: str, format: LogFormat = "text") -> None:
        """As in a process of ours, where nobody has set up logging before: pytest has, for each test."""
        self._monkeypatch.setattr(sys, "stderr", self.stderr)
        self.root.handlers.clear()
        set_up_logging(level, format)

    @property
    def text(self) -> str:
        return self.stderr.getvalue()


@pytest.fixture
def written(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> Written:
    return Written(root, monkeypatch)


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


def repeat_a_quotation() -> None:
    try:
        quote_input()
    except ValueError as error:
        raise RuntimeError(str(error)) from error


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


def test_a_line_of_text_says_what_happened_and_whose_it_is(written: Written) -> None:
    written.begin("info")
    assert format_in_use() == "text"
    logging.getLogger("gql").info("serving")

    def ask() -> None:
        begin_request(b"my-request", TRACEPARENT.encode())
        begin_operation("Create")
        logging.getLogger("gql").warning("one\nand two")

    copy_context().run(ask)
    first, second = written.text.splitlines()
    assert first.endswith(" INFO gql: serving")
    expected = f" WARNING gql: one\\nand two [request_id=my-request operation=Create trace_id={TRACE_ID}]"
    assert second.endswith(expected)


def test_a_line_of_json_is_one_object_with_all_that_is_known(written: Written) -> None:
    written.begin("info", "json")
    assert format_in_use() == "json"
    with attempt_marked(a_task(TASK_ID), TRACEPARENT):
        logging.getLogger("task.test").info("one\nand %s", "two", extra={"rows": 3, "when": TASK_ID})
    line = json.loads(written.text)
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


def test_what_a_record_says_itself_is_not_told_twice(written: Written) -> None:
    written.begin("info")
    names = {"task_id": "its own", "kind": "its own", "attempt": 7}
    with attempt_marked(a_task(TASK_ID), TRACEPARENT):
        logging.getLogger("task.test").info("said", extra=names)
    assert written.text.endswith(f"said [trace_id={TRACE_ID}]\n")


@pytest.mark.parametrize("value", [float("nan"), {1: 2, (3,): 4}])
def test_a_line_is_written_whatever_a_handler_puts_into_it(written: Written, value: object) -> None:
    written.begin("info", "json")
    logging.getLogger("task.test").info("said", extra={"odd": value})
    assert json.loads(written.text)["odd"] == str(value)


def test_logging_may_be_set_up_by_somebody_else_and_is_json_all_the_same(
    root: logging.Logger, written: Written
) -> None:
    """Lambda's runtime."""
    root.handlers[:] = [logging.StreamHandler(written.stderr)]
    set_up_logging("info", "json")
    logging.getLogger("consumer").info("ready")
    assert json.loads(written.text)["message"] == "ready"


@pytest.mark.parametrize("lines", [TextLines, JsonLines])
@pytest.mark.parametrize("error", [quote_input, quote_parameters, quote_a_document, follow_a_quotation])
def test_a_traceback_has_the_way_to_an_error_and_none_of_the_values_that_it_quotes(
    written: Written, error: Callable[[], None], lines: type[logging.Formatter]
) -> None:
    written.begin("debug", "json" if lines is JsonLines else "text")
    fail(error)
    assert MARK not in written.text
    assert f"in {error.__name__}" in written.text
    assert "its words are not logged" in written.text


def test_our_own_errors_and_those_of_the_system_are_told_in_full(written: Written) -> None:
    written.begin("info")
    fail(follow_a_quotation)
    fail(lambda: open("/nowhere/at/all"))  # noqa: PTH123, SIM115
    fail(lambda: "a" + 1)  # type: ignore[operator]
    assert "taskql.errors.Unavailable: PostgreSQL does not answer" in written.text
    assert "direct cause" in written.text
    assert "FileNotFoundError: [Errno 2]" in written.text
    assert "TypeError: can only concatenate" in written.text


def test_a_handler_s_exceptions_are_in_its_author_s_words(written: Written) -> None:
    written.begin("info")
    fail(lambda: int("an author's value"), "consumer.attempt")
    fail(lambda: int("another value"), "somebody.elses")
    assert "an author's value" in written.text
    assert "another value" in written.text
    fail(quote_input, "consumer.child")
    fail(repeat_a_quotation, "consumer.child")
    assert MARK not in written.text


def test_errors_that_belong_together_are_told_together(written: Written) -> None:
    written.begin("info")

    def both() -> None:
        raise ExceptionGroup("two of them", [OSError("the first"), ValueError(MARK)])

    fail(both)
    assert "two of them (2 sub-exceptions)" in written.text
    assert "OSError: the first" in written.text
    assert MARK not in written.text
