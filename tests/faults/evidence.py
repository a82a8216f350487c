"""What was seen of one run, from all sides: clients, PostgreSQL, handlers, watchers, the wire to SQS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


class End(Enum):
    """How a task may end if nothing is cancelled: its status, and the failure's codes.

    Attempts that a fault cost count like any other, so each may end CRASHED besides.
    """

    SUCCESS = ("COMPLETED", frozenset[str]())
    PERMANENT_FAILURE = ("FAILED", frozenset({"PERMANENT"}))
    EXHAUSTION = ("FAILED", frozenset({"ATTEMPTS_EXHAUSTED"}))


@dataclass(slots=True)
class Request:
    """A createTask under one idempotency key, sent again until it was answered."""

    key: str
    end: End
    leaves_mark: bool = False
    answers: list[str] = field(default_factory=list)
    """The ids in the API's answers, one per answer."""
    cancelling: bool = False
    """cancelTask was sent, whatever came of it."""
    cancelled: bool = False
    """The API has said that it is CANCELLED."""


@dataclass(frozen=True, slots=True)
class Change:
    """A committed change of a task, as PostgreSQL itself wrote it down."""

    task_id: str
    version: int
    status: str
    attempt: int
    max_attempts: int
    at: datetime
    available_at: datetime | None = None
    """From when the next attempt may begin; None once there is none."""
    result: Any = None
    failure_code: str | None = None
    attempt_outcome: str | None = None
    """How the last attempt that began has ended."""

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class Effect:
    """What an execution did outside."""

    task_id: str
    attempt: int
    token: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A row of dead_letters."""

    task_id: str | None
    attempt: int | None
    reason: str
    sent: bool


@dataclass(slots=True)
class View:
    """What one subscriber was shown, over all its connections."""

    task_id: str
    states: list[tuple[int, str]] = field(default_factory=list)
    """Versions and statuses."""
    completed: bool = False
    """The server has completed the subscription."""


@dataclass(slots=True)
class Delivery:
    """A message that SQS handed to a consumer, and when the consumer acknowledged it."""

    task_id: str
    at: datetime
    acknowledged_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it. `changes` are in the order in which they were made."""

    requests: Sequence[Request] = ()
    changes: Sequence[Change] = ()
    stored: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Version and status of every task at the end."""
    dispatched: Sequence[str] = ()
    """The tasks that have a dispatch row at the end."""
    effects: Sequence[Effect] = ()
    letters: Sequence[Letter] = ()
    views: Sequence[View] = ()
    deliveries: Sequence[Delivery] = ()
    processes: Sequence[str] = ()
    """What was wrong with processes: a wrong exit code, an unexpected error in a log, one left behind."""
