"""The lifecycle of a task, as data.

Invariant: this table is the only list of allowed moves. The database's guard (migration 0001) and the
diagram in docs/lifecycle.md are held against it by tests/contract/test_lifecycle.py.
"""

from dataclasses import dataclass
from enum import StrEnum


class TaskStatus(StrEnum):
    """What a client sees of a task's life; the last three are terminal."""

    PENDING = "PENDING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


class AttemptOutcome(StrEnum):
    """How one attempt ended; an attempt that still runs has none."""

    COMPLETED = "COMPLETED"
    RETRIED = "RETRIED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"
    RELEASED = "RELEASED"


@dataclass(frozen=True, slots=True)
class Transition:
    """A named move between two statuses."""

    name: str
    source: TaskStatus
    target: TaskStatus


TRANSITIONS = (
    Transition("claim", TaskStatus.PENDING, TaskStatus.PROCESSING),
    Transition("progress", TaskStatus.PROCESSING, TaskStatus.PROCESSING),
    Transition("complete", TaskStatus.PROCESSING, TaskStatus.COMPLETED),
    Transition("fail", TaskStatus.PROCESSING, TaskStatus.FAILED),
    Transition("retry", TaskStatus.PROCESSING, TaskStatus.PENDING),
    Transition("release", TaskStatus.PROCESSING, TaskStatus.PENDING),
    Transition("rescue", TaskStatus.PROCESSING, TaskStatus.PENDING),
    Transition("expire", TaskStatus.PENDING, TaskStatus.FAILED),
    Transition("give_up", TaskStatus.PENDING, TaskStatus.FAILED),
    Transition("cancel", TaskStatus.PENDING, TaskStatus.CANCELLED),
    Transition("cancel", TaskStatus.PROCESSING, TaskStatus.CANCELLED),
    Transition("redrive", TaskStatus.FAILED, TaskStatus.PENDING),
    Transition("redrive", TaskStatus.CANCELLED, TaskStatus.PENDING),
)


def may_become(source: TaskStatus, target: TaskStatus) -> bool:
    """Whether some transition leads from `source` to `target`."""
    return any(move.source is source and move.target is target for move in TRANSITIONS)
