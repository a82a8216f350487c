"""What workers do: claims, and the transitions of a leased attempt."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from taskql.ports.requests import Created, Revived
from taskql.queues import Queue
from taskql.task import JSON, Failure, Lease, NewTask, Progress, Task, TaskEvent
from taskql.value import value_class


@value_class()
class Claimed:
    """The attempt is ours until the lease ends. The task was created in the trace of `traceparent`."""

    lease: Lease
    task: Task
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The task is terminal: the message is an ordinary duplicate."""


@dataclass(frozen=True, slots=True)
class LeasedElsewhere:
    """A live lease is held elsewhere, for another `remaining`."""

    remaining: timedelta


@dataclass(frozen=True, slots=True)
class NotDue:
    """The task may not be claimed yet: the message came early."""


@dataclass(frozen=True, slots=True)
class NoHandler:
    """The task is of a kind that the claimer does not know; it has been put off for another worker."""

    kind: str


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The task is FAILED with UNKNOWN_KIND: for too long it has met only workers that don't know its kind."""

    event: TaskEvent


@dataclass(frozen=True, slots=True)
class Unknown:
    """No task has that id: the message is not ours."""


@value_class()
class Completion:
    """A task that is COMPLETED, and those that were stored with its outcome."""

    event: TaskEvent
    created: Sequence[Created] = ()


@value_class()
class Success:
    """An outcome to be written: what `LeaseStore.complete` is told of an attempt without follow-ups."""

    lease: Lease
    result: JSON
    location: str | None = None


Claim = Claimed | Finished | LeasedElsewhere | NotDue | NoHandler | GivenUp | Unknown


class LeaseStore(Protocol):
    """Claims and the named transitions of a leased attempt.

    Each transition is fenced by the lease, commits alone, and answers with the event to publish. Raises
    `LeaseLost`, having changed nothing, when the attempt is no longer the holder's.
    """

    async def claim(self, task_id: UUID, kinds: Collection[str], lease_for: timedelta) -> Claim:
        """Begin the next attempt, if the task is pending and due and its kind is one of `kinds`.

        A task of another kind waits for another worker, but not for ever; neither counts as an attempt.
        """
        ...

    async def extend(self, lease: Lease, lease_for: timedelta) -> None:
        """The heartbeat: the lease ends `lease_for` from now. Changes nothing that a watcher can see."""
        ...

    async def held(self, leases: Collection[Lease]) -> set[Lease]:
        """Those that are still their holder's; the others were cancelled, rescued or finished."""
        ...

    async def progress(self, lease: Lease, progress: Progress) -> TaskEvent: ...

    async def complete(
        self, lease: Lease, result: JSON, location: str | None = None, follow_ups: Sequence[NewTask] = ()
    ) -> Completion:
        """COMPLETED, and the follow-ups stored, or neither. A result kept elsewhere is None here."""
        ...

    async def retry(self, lease: Lease, failure: Failure, delay: timedelta) -> TaskEvent: ...

    async def fail(self, lease: Lease, failure: Failure) -> TaskEvent:
        """FAILED, with a dead letter."""
        ...

    async def release(self, lease: Lease) -> TaskEvent:
        """Back to PENDING, due at once, with the attempt given back."""
        ...

    async def redrive(
        self, task_id: UUID, failed_attempt: int, max_attempts: Mapping[str, int]
    ) -> Revived | None:
        """PENDING again, if the task FAILED at that attempt: its dead letter was put back into a queue."""
        ...

    async def bury(self, queue: Queue, body: str, reason: str) -> None:
        """Keep a message that is not ours as a dead letter."""
        ...


class BatchLeaseStore(LeaseStore, Protocol):
    """A LeaseStore that takes many at a time; an outcome per item, in order, each as if it had come alone."""

    async def claim_many(
        self, ids: Sequence[UUID], kinds: Collection[str], lease_for: timedelta
    ) -> list[Claim | Exception]: ...

    async def complete_many(self, successes: Sequence[Success]) -> list[Completion | Exception]:
        """Raises Unavailable for all; what else an item is to blame for, it alone is answered with."""
        ...
