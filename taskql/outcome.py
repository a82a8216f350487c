"""What became of an attempt, as values that are matched exhaustively."""

from dataclasses import dataclass
from datetime import timedelta

from taskql.task import JSON, Failure, NewTask
from taskql.value import value_class


@value_class()
class Succeeded:
    """The handler returned `result`, as JSON, and asked for the tasks in `follow_ups`."""

    result: JSON
    follow_ups: tuple[NewTask, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """The attempt failed and another one follows, not before `delay` from now."""

    failure: Failure
    delay: timedelta


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed and no other follows."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Released:
    """The attempt was stopped by us before it could finish and is given back, uncounted."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The lease is gone (rescued or cancelled): nothing may be written."""


Outcome = Succeeded | Retry | Failed | Released | Abandoned
