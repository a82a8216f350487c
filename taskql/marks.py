"""What log lines say of where they belong: the request, its operation, the attempt, the trace through all.

A trace is what W3C's Trace Context calls one: it begins with whoever sent `traceparent`, or with an operation
of ours, and is stored with the tasks that are created in it, so that their attempts carry it on.

Invariant: nothing here is a client's own words but for a request id and an operation's name, both bounded and
free of whatever could break a line. Set once a request, an operation or an attempt; read when a line is
written, and when a task is stored.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import getrandbits  # ids, not secrets: the system's generator costs ten times as much
from typing import Protocol
from uuid import UUID

from taskql.value import value_class

REQUEST_ID = re.compile(rb"[!-~]{1,128}")
"""What we take over from a client: printable ASCII without spaces."""
TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
OPERATION = re.compile(r"[_A-Za-z][_0-9A-Za-z]*")
MAX_OPERATION_CHARS = 64
UNSAMPLED = "00"


@value_class()
class Marks:
    """Whose a line is, as far as it is known; none of it for a process's own."""

    request_id: str | None = None
    operation: str | None = None
    task_id: str | None = None
    kind: str | None = None
    attempt: int | None = None
    traceparent: str | None = None

    def fields(self) -> dict[str, str | int]:
        """What is known, by the names that lines have it under."""
        found = {
            "request_id": self.request_id,
            "operation": self.operation,
            "task_id": self.task_id,
            "kind": self.kind,
            "attempt": self.attempt,
            "trace_id": trace_id_of(self.traceparent),
        }
        return {name: value for name, value in found.items() if value is not None}


class Attempted(Protocol):
    """A task whose attempt runs."""

    @property
    def id(self) -> UUID | str: ...

    @property
    def kind(self) -> str: ...

    @property
    def attempt(self) -> int: ...


_marks: ContextVar[Marks] = ContextVar("taskql.marks")
NOTHING = Marks()


def current() -> Marks:
    return _marks.get(NOTHING)


def begin_request(request_id: bytes | None, traceparent: bytes | None) -> str:
    """From here on, lines are this request's; answers its id, which is the client's own if that will do."""
    if request_id is not None and REQUEST_ID.fullmatch(request_id):
        chosen = request_id.decode("ascii")
    else:
        chosen = f"{getrandbits(128):032x}"
    _marks.set(Marks(request_id=chosen, traceparent=checked(traceparent)))
    return chosen


def begin_operation(name: str | None) -> None:
    """From here on, lines are this operation's. Where nobody has sent a trace, one begins."""
    now = current()
    _marks.set(
        Marks(
            request_id=now.request_id,
            operation=None if name is None or not OPERATION.fullmatch(name) else name[:MAX_OPERATION_CHARS],
            traceparent=now.traceparent or new_trace(),
        )
    )


@contextmanager
def attempt_marked(task: Attempted, traceparent: str | None) -> Iterator[None]:
    """Within, lines are this attempt's."""
    marks = Marks(task_id=str(task.id), kind=task.kind, attempt=task.attempt, traceparent=traceparent)
    before = _marks.set(marks)
    try:
        yield
    finally:
        _marks.reset(before)


def checked(traceparent: bytes | None) -> str | None:
    """A client's `traceparent`, in the form of the version that we know; None where it is none."""
    if traceparent is None:
        return None
    found = TRACEPARENT.fullmatch(traceparent.decode("latin-1"))
    # Only version 00 has a length; of a later one, what we don't know is left off.
    if found is None or (found[0].startswith("00") and found[1]):
        return None
    return f"00{found[0][2:55]}"


def new_trace() -> str:
    """A trace that begins here. Whether it is recorded anywhere is for others to say."""
    return f"00-{getrandbits(128):032x}-{getrandbits(64):016x}-{UNSAMPLED}"


def trace_id_of(traceparent: str | None) -> str | None:
    return None if traceparent is None else traceparent[3:35]
