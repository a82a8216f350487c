"""What upkeep does with dispatch rows and dead letters, and what operators read of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from taskql.ports.requests import Dispatch
from taskql.queues import Queue
from taskql.task import TaskEvent


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A task that failed for good, or a message that was not ours."""

    id: UUID
    reason: str
    body: str | None
    task_id: UUID | None
    attempt: int | None
    queue: Queue
    at: datetime


class DeadLetterStore(Protocol):
    """What operators read. Not anybody's own: the caller sees to it that only they do."""

    async def page(self, limit: int, after: UUID | None = None) -> list[DeadLetter]:
        """Newest first, beyond `after`."""
        ...

    async def fetch(self, ids: Collection[UUID]) -> dict[UUID, DeadLetter]:
        """Those of `ids` that exist."""
        ...


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """How a queue fares, by what PostgreSQL knows of its tasks."""

    queue: Queue
    depth: int
    in_flight: int
    delayed: int
    oldest_age: timedelta | None
    dead_letters: int


class QueueStore(Protocol):
    """What operators read of the queues."""

    async def figures(self) -> list[QueueFigures]:
        """One of each queue: `depth` is due and waits for a worker, `delayed` waits for its time or turn."""
        ...


class DispatchStore(Protocol):
    """The dispatch rows, as upkeep sees them. Every method may run in many processes at once."""

    async def reserve_due(self, limit: int) -> list[Dispatch]:
        """Tasks that are due and unsent, reserved for the caller for some seconds, oldest first."""
        ...

    async def unblock(self, groups: Collection[str] | None = None) -> int:
        """Let the first unfinished task of each of the ordering groups go.

        Without `groups`, of all; where there are thousands, each call goes on where the last one stopped.
        """
        ...

    async def mark_sent(self, dispatches: Sequence[Dispatch]) -> None: ...

    async def rescue_expired(self, limit: int) -> list[TaskEvent]:
        """Give tasks whose lease has expired their next attempt, or fail them where none is left."""
        ...

    async def expire(self, limit: int) -> list[TaskEvent]:
        """Fail tasks that have not started by their `expires_at`, each with a dead letter."""
        ...

    async def raise_watermark(self, queue: Queue, sent_at: datetime) -> None:
        """All that was sent to `queue` well before `sent_at` has been delivered, or is lost."""
        ...

    async def silent_queues(self, margin: timedelta) -> list[Queue]:
        """Queues with tasks that were sent more than `margin` ago, and no news since how far they are."""
        ...

    async def resend_lost(self, margin: timedelta, limit: int) -> int:
        """Make tasks due again that were sent more than `margin` before their queue's watermark.

        The margin doubles with each sending of a task. Answers how many there were.
        """
        ...

    async def reserve_dead_letters(self, limit: int) -> list[DeadLetter]:
        """Dead letters that have not been sent to the dead-letter queue, reserved for some seconds."""
        ...

    async def mark_dead_letters_sent(self, ids: Sequence[UUID]) -> None: ...

    async def forget_orderings(self, unused_for: timedelta) -> int:
        """Delete the counters of ordering groups that nothing waits in; answers how many."""
        ...

    async def forget_older(self, age: timedelta, limit: int) -> int:
        """Delete tasks that ended longer ago than `age`, and such dead letters; answers how many tasks."""
        ...
