"""Whose a line is, and the trace that goes through a task's life."""

import re
from contextvars import copy_context
from uuid import uuid4

import pytest

from taskql.marks import Marks, attempt_marked, begin_operation, begin_request, current
from taskql.tracebacks import without_secrets
from tests.unit.scripted import a_task

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT}-01"


def marks_of(traceparent: str | None, request_id: bytes | None = None, operation: str | None = None) -> Marks:
    def ask() -> Marks:
        begin_request(request_id, None if traceparent is None else traceparent.encode())
        begin_operation(operation)
        return current()

    return copy_context().run(ask)


@pytest.mark.parametrize("request_id", [b"a", b"x" * 128, b"01HF:7/(web)"])
def test_a_client_s_request_id_is_kept(request_id: bytes) -> None:
    assert marks_of(None, request_id).request_id == request_id.decode()


@pytest.mark.parametrize("request_id", [None, b"", b"x" * 129, b"two words", b"a\n", b"\xc3\xbc"])
def test_a_request_without_a_sane_id_is_given_one(request_id: bytes | None) -> None:
    first, second = marks_of(None, request_id), marks_of(None, request_id)
    assert re.fullmatch("[0-9a-f]{32}", str(first.request_id))
    assert first.request_id != second.request_id


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (TRACEPARENT, TRACEPARENT),
        (f"cc-{TRACE_ID}-{PARENT}-01-what-will-be", TRACEPARENT),
        (f"01-{TRACE_ID}-{PARENT}-00", f"00-{TRACE_ID}-{PARENT}-00"),
    ],
)
def test_a_client_s_trace_goes_on(sent: str, kept: str) -> None:
    marks = marks_of(sent)
    assert marks.traceparent == kept
    assert marks.fields()["trace_id"] == TRACE_ID


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "nonsense",
        TRACEPARENT.upper(),
        f"ff-{TRACE_ID}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"{TRACEPARENT}-more",
        f"{TRACEPARENT}\n",
        TRACEPARENT[:-1],
    ],
)
def test_without_a_trace_that_is_one_each_operation_begins_its_own(sent: str | None) -> None:
    first, second = marks_of(sent), marks_of(sent)
    assert first.traceparent != second.traceparent
    assert marks_of(first.traceparent).traceparent == first.traceparent, "it is well-formed"
    assert TRACE_ID not in str(first.traceparent)


def test_operations_of_a_socket_have_its_request_id_and_their_own_names_and_traces() -> None:
    def two() -> list[Marks]:
        begin_request(b"socket", None)
        return [copy_context().run(operation, name) for name in ("One", "Two")]

    def operation(name: str) -> Marks:
        begin_operation(name)
        return current()

    one, two_ = copy_context().run(two)
    assert (one.request_id, one.operation, two_.operation) == ("socket", "One", "Two")
    assert one.traceparent != two_.traceparent


@pytest.mark.parametrize(
    ("name", "shown"),
    [("Create", "Create"), ("x" * 500, "x" * 64), ("a b", None), ("a\n", None), (None, None)],
)
def test_an_operation_s_name_is_short_and_no_more_than_a_name(name: str | None, shown: str | None) -> None:
    assert marks_of(None, operation=name).operation == shown


def test_lines_are_an_attempt_s_as_long_as_it_runs() -> None:
    task = a_task(uuid4())
    with attempt_marked(task, TRACEPARENT):
        expected = {"task_id": str(task.id), "kind": "test", "attempt": 1, "trace_id": TRACE_ID}
        assert current().fields() == expected
    assert current().fields() == {}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://issuer.example/keys", "https://issuer.example/keys"),
        ("https://us:secret@issuer.example:8443/keys?key=secret#secret", "https://issuer.example:8443/keys"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
