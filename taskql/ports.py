"""What TaskQL needs of the outside: narrow protocols, each with one conformance suite in tests/contract/.

Rules for every adapter: `owner` is in the WHERE of every client's request; time is the database's; an outage
raises `Unavailable`, and the same call may be made again.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol
from uuid import UUID

from taskql.listing import Page, PageRequest, TaskFilter
from taskql.queues import Queue
from taskql.task import JSON, Failure, Lease, NewTask, Progress, Task, TaskEvent

SQS_MAX_BATCH = 10
MAX_POLL_SECONDS = 20


# ---------------------------------------------------------------- what clients ask for


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A task that wants to be sent: enough to do so, and to tell a stale sending from a new one.

    A task that runs in order with others has the group's name and its place there.
    """

    task_id: UUID
    queue: Queue
    attempt: int
    sends: int = 0
    ordering_group: str | None = None
    ordering_number: int | None = None


@dataclass(frozen=True, slots=True)
class Created:
    """The task was stored. What may be sent at once is reserved for the process that stored it."""

    task: Task
    dispatch: Dispatch | None


@dataclass(frozen=True, slots=True)
class Existing:
    """The same request under the same idempotency key was stored before."""

    task: Task


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another request holds the idempotency key."""

    task_id: UUID


@dataclass(frozen=True, slots=True)
class NotStored:
    """One task of several that PostgreSQL would not take, for a reason that nobody foresaw."""

    error: Exception


Creation = Created | Existing | Conflict | NotStored


class Outbox(Protocol):
    """The relay of this process, as those see it who have stored something. Never blocks."""

    def offer(self, dispatches: Sequence[Dispatch]) -> None:
        """Send these soon: they are stored and reserved for this process."""
        ...

    def wake(self, groups: Collection[str] = ()) -> None:
        """Look at once for what has become due; in these ordering groups a task has come or gone."""
        ...


@dataclass(frozen=True, slots=True)
class Newer:
    """Tasks that have moved on, and those that are no more."""

    tasks: Sequence[Task]
    gone: Collection[UUID]


class TaskStore(Protocol):
    """The requests of clients."""

    async def create(self, tasks: Sequence[NewTask]) -> list[Creation]:
        """Store tasks with their dispatch rows in one transaction; an outcome per item, in order.

        Where that fails, each is stored alone, so that one that can't be stored fails no other.
        """
        ...

    async def repeated(self, task: NewTask) -> Existing | Conflict | None:
        """What a request would meet whose idempotency key is held; None where it is not."""
        ...

    async def fetch(self, owner: str, ids: Collection[UUID]) -> dict[UUID, Task]:
        """Those of `ids` that exist and are the owner's."""
        ...

    async def page(self, owner: str, filter: TaskFilter, request: PageRequest) -> Page: ...

    async def count(self, owner: str, filter: TaskFilter, limit: int) -> int:
        """How many tasks match, counting no further than `limit`."""
        ...

    async def newer(self, known: Mapping[UUID, int]) -> Newer:
        """What has become of tasks since the version that is known of each, by one query."""
        ...

    async def changed_since(self, owner: str, moment: datetime, limit: int) -> list[Task]:
        """The owner's tasks that changed later than `moment`, the earliest change first.

        About `limit`: with the last one come all that changed at the same moment, so that the next page can
        begin there.
        """
        ...

    async def as_of(self) -> datetime:
        """A moment before which nothing changes any more: no transaction that still runs began before it."""
        ...

    async def ping(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Revived:
    """A terminal task that is PENDING again. What may be sent at once is reserved for this process."""

    task: Task
    dispatch: Dispatch | None


class TaskControl(Protocol):
    """What clients do to tasks that exist. Each answers None, or less, where the task's status forbids it."""

    async def cancel(self, owner: str, task_id: UUID) -> Task | None:
        """CANCELLED at once, if it is not terminal; an attempt that runs thereby loses its lease."""
        ...

    async def retry(
        self, owner: str, ids: Collection[UUID], max_attempts: Mapping[str, int]
    ) -> list[Revived]:
        """PENDING again, those that are FAILED or CANCELLED, with `max_attempts` more by kind."""
        ...

    async def failed(self, owner: str, filter: TaskFilter, limit: int) -> list[UUID]:
        """The oldest FAILED tasks that match."""
        ...

    async def delete(self, owner: str, task_id: UUID) -> bool:
        """Gone, if it is terminal."""
        ...


# ---------------------------------------------------------------- what workers do


@dataclass(frozen=True, slots=True)
class Claimed:
    """The attempt is ours until the lease ends."""

    lease: Lease
    task: Task


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
class Unknown:
    """No task has that id: the message is not ours."""


Claim = Claimed | Finished | LeasedElsewhere | NotDue | NoHandler | Unknown


class LeaseStore(Protocol):
    """Claims and the named transitions of a leased attempt.

    Each transition is fenced by the lease, commits alone, and answers with the event to publish. Raises
    `LeaseLost`, having changed nothing, when the attempt is no longer the holder's.
    """

    async def claim(self, task_id: UUID, kinds: Collection[str], lease_for: timedelta) -> Claim:
        """Begin the next attempt, if the task is pending and due and its kind is one of `kinds`."""
        ...

    async def extend(self, lease: Lease, lease_for: timedelta) -> None:
        """The heartbeat: the lease ends `lease_for` from now. Changes nothing that a watcher can see."""
        ...

    async def held(self, leases: Collection[Lease]) -> set[Lease]:
        """Those that are still their holder's; the others were cancelled, rescued or finished."""
        ...

    async def progress(self, lease: Lease, progress: Progress) -> TaskEvent: ...

    async def complete(self, lease: Lease, result: JSON) -> TaskEvent: ...

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


# ---------------------------------------------------------------- what upkeep does


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
        """Let the first unfinished task of each of the ordering groups go, or of all groups."""
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


# ---------------------------------------------------------------- the queue and the events


@dataclass(frozen=True, slots=True)
class Message:
    """A received message. `receive_count` is a hint, never the attempt.

    A dead letter that was put back carries the attempt at which its task FAILED.
    """

    body: str
    receipt: str
    queue: Queue
    sent_at: datetime
    receive_count: int
    failed_attempt: int | None = None
    ordering_group: str | None = None


class MessageSender(Protocol):
    """The sending half of the queues, with short time limits."""

    async def send(self, dispatches: Sequence[Dispatch]) -> list[Dispatch]:
        """Send up to ten to one queue; answers those accepted. Raises Unavailable if none was."""
        ...

    async def send_dead_letters(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]: ...

    async def is_empty(self, queue: Queue) -> bool:
        """Whether the queue holds no message, not even one that somebody is at work on."""
        ...


class MessageReceiver(Protocol):
    """The receiving half of the queues. Let an open poll finish: a cancelled one can swallow messages."""

    async def receive(self, queue: Queue, limit: int, wait: timedelta) -> list[Message]: ...

    async def acknowledge(self, message: Message) -> None: ...

    async def hide(self, message: Message, duration: timedelta) -> None:
        """Nobody else receives the message for `duration`, counted from now; zero releases it."""
        ...

    async def ping(self) -> None: ...


class EventSink(Protocol):
    def publish(self, event: TaskEvent) -> None:
        """Tell whoever watches. Never blocks and never fails: what gets lost, watchers find in PostgreSQL."""
        ...

    def forget(self, task_id: UUID) -> None:
        """The task is deleted: no cache shall know it any more. Never blocks and never fails."""
        ...


class Hearing(Enum):
    """What a source says of itself, between the events."""

    LOST = "lost"
    """Nothing is heard from now on; what is watched has to be looked at."""
    BACK = "back"
    """All that is watched is heard again, or as well as ever; something may have been missed until now."""


class EventSource(Protocol):
    """Events of the tasks that this process watches, over one connection (to each node of a cluster)."""

    async def watch(self, task_id: UUID) -> None:
        """Returns when the task's events are on their way to us, or raises Unavailable."""
        ...

    async def unwatch(self, task_id: UUID) -> None: ...

    async def watch_owner(self, owner: str) -> None:
        """The same for all tasks of an owner."""
        ...

    async def unwatch_owner(self, owner: str) -> None: ...

    def events(self) -> AsyncIterator[TaskEvent | Hearing]:
        """Events as they come; one of a task that is watched in both ways may come twice."""
        ...


class SnapshotCache(Protocol):
    """The newest known state of tasks that have changed or been read lately. May lack any of them."""

    async def fetch(self, task_id: UUID) -> Task | None:
        """None where it is not known, or the cache is away. The caller checks whose task it is."""
        ...

    def keep(self, task: Task) -> None:
        """Remember what was read from PostgreSQL, unless something newer is known. Never blocks or fails."""
        ...
