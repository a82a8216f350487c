"""What was seen of one run, from all sides: clients, PostgreSQL, handlers, watchers, the wire to SQS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


class End(Enum):
    """How a life of a task may end if nothing is cancelled: its statuses, and the failure's code.

    Attempts that a fault cost count like any other, so each may end CRASHED besides.
    """

    SUCCESS = (("COMPLETED",), None)
    PERMANENT_FAILURE = (("FAILED",), "PERMANENT")
    EXHAUSTION = (("FAILED",), "ATTEMPTS_EXHAUSTED")
    SUCCESS_AT_LAST = (("COMPLETED", "FAILED"), "ATTEMPTS_EXHAUSTED")
    """It fails for so long that it takes another life, or attempts that were given back."""


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
    ordering_key: str | None = None
    run_at: datetime | None = None
    expires_at: datetime | None = None
    asked_at: datetime | None = None
    """When it was sent for the first time."""
    answered_at: datetime | None = None
    """When it was first answered."""
    created: int = 0
    """How many answers said that they had made the task."""
    follow_ups: int = 0
    """How many tasks each of its attempts wants to follow."""
    refused: bool = False
    """An answer said that its expiresAt had passed: an earlier try may have been in time all the same."""


@dataclass(slots=True)
class Batch:
    """A createTasks, sent again until it was answered."""

    items: Sequence[Request | None]
    """None for one that must be refused; one that is repeated is here twice."""
    answers: list[list[str | None]] = field(default_factory=list)
    """For each answer, the titles in it; None where there is no task. A title is its request's key."""


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
    ordering_number: int | None = None
    began: datetime | None = None
    """When its transaction began: what that looked at the clock for came later."""

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class Effect:
    """What an execution did outside."""

    task_id: str
    attempt: int
    token: str


@dataclass(slots=True)
class Ask:
    """Somebody wanted terminal tasks to run again, in one try that takes effect once for each, if at all."""

    at: datetime
    task_id: str | None = None
    """For retryTask and a dead letter; None for redriveTasks, which takes whatever FAILED."""
    attempt: int | None = None
    """For a dead letter that was put back: the attempt that it carries."""
    version: int | None = None
    """As which version the API has answered that the task is PENDING again."""

    def explains(self, end: Change) -> bool:
        """Whether a task may run again for it that had come to this end."""
        if self.task_id is None:
            return end.status == "FAILED"
        if self.attempt is None:
            return end.task_id == self.task_id and end.status in ("FAILED", "CANCELLED")
        return (end.task_id, end.attempt, end.status) == (self.task_id, self.attempt, "FAILED")


@dataclass(slots=True)
class Garbage:
    """A message that is not TaskQL's, put into a queue for tasks."""

    body: str
    at: datetime
    accepted: bool = False
    queue: str = "normal"
    """SQS has said so; it may be there even if not."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A row of dead_letters."""

    task_id: str | None
    attempt: int | None
    reason: str
    body: str
    at: datetime
    sent: bool
    queue: str = "normal"
    """Where its task's messages go, or whence it came."""


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A message in one of the dead-letter queues."""

    task_id: str | None
    attempt: int | None
    reason: str | None
    body: str
    ordered: bool = False
    """Whether it is in the FIFO one."""


@dataclass(slots=True)
class View:
    """What one subscriber was shown, over all its connections."""

    task_id: str
    states: list[tuple[int, str]] = field(default_factory=list)
    """Versions and statuses."""
    completed: int = 0
    """How often the server has completed the subscription."""
    resumed: list[int] = field(default_factory=list)
    """How many states it had seen whenever it came back."""


@dataclass(slots=True)
class Following:
    """What one subscriber was told of all its tasks."""

    connections: list[list[tuple[str, int, str]]] = field(default_factory=list)
    """Over each of them, the tasks, versions and statuses."""
    known: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Version and status of each task, by what it was told, and by asking after it had come back."""


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
    batches: Sequence[Batch] = ()
    changes: Sequence[Change] = ()
    stored: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Version and status of every task at the end."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """The idempotency key of every task that has one."""
    follow_ups: Mapping[str, str] = field(default_factory=dict)
    """The task that asked for it, of every one that was created by a task."""
    dispatched: Sequence[str] = ()
    """The tasks that have a dispatch row at the end."""
    effects: Sequence[Effect] = ()
    letters: Sequence[Letter] = ()
    dead_messages: Sequence[DeadMessage] = ()
    queue_lost_at: datetime | None = None
    """When the queues for tasks last lost what was in them."""
    dead_letters_lost_at: datetime | None = None
    """The same of the dead-letter queues."""
    asks: Sequence[Ask] = ()
    garbage: Sequence[Garbage] = ()
    views: Sequence[View] = ()
    followings: Sequence[Following] = ()
    deliveries: Sequence[Delivery] = ()
    processes: Sequence[str] = ()
    """What was wrong with processes: a wrong exit code, an unexpected error in a log, one left behind."""
