"""What upkeep works with, in memory and scripted: a store, a queue, and a sink of events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from taskql.errors import Unavailable
from taskql.ports import SQS_MAX_BATCH, DeadLetter, Dispatch
from taskql.queues import Queue
from taskql.task import TaskEvent

LONGEST_WAIT_SECONDS = 60


def dispatch(queue: Queue = Queue.NORMAL) -> Dispatch:
    return Dispatch(uuid4(), queue, 0)


def many(count: int, queue: Queue = Queue.NORMAL) -> list[Dispatch]:
    return [dispatch(queue) for _ in range(count)]


class Outside:
    """A store and a queue, both in memory; each can be away."""

    def __init__(self) -> None:
        self.due: list[Dispatch] = []
        self.sent: list[list[Dispatch]] = []
        self.marked: list[Dispatch] = []
        self.sweeps = 0
        self.unblocked: list[Collection[str] | None] = []
        self.steps: list[str] = []
        self.queue_away = self.store_away = False
        self.refused: set[Dispatch] = set()
        self.sending = self.most_sending = 0
        self.held: asyncio.Event | None = None
        self.changed = asyncio.Event()
        self.on_send: Callable[[], None] = lambda: None
        self.mark_errors: list[Exception] = []
        self.letters: list[DeadLetter] = []
        self.letters_marked: list[UUID] = []
        self.letters_refused: set[UUID] = set()
        self.rescued: list[TaskEvent] = []
        self.expiring: list[TaskEvent] = []
        self.expirations = 0
        self.silent: dict[Queue, bool] = {}
        self.watermarks: dict[Queue, datetime] = {}
        self.lost = 0
        self.asked_to_resend: list[tuple[timedelta, int]] = []

    async def unblock(self, groups: Collection[str] | None = None) -> int:
        self.unblocked.append(groups)
        self.steps.append("unblock")
        self.changed.set()
        if self.store_away:
            raise Unavailable("PostgreSQL is away")
        return 0

    async def reserve_due(self, limit: int) -> list[Dispatch]:
        self.sweeps += 1
        self.steps.append("reserve")
        self.changed.set()
        if self.store_away:
            raise Unavailable("PostgreSQL is away")
        found, self.due = self.due[:limit], self.due[limit:]
        return found

    async def mark_sent(self, dispatches: Sequence[Dispatch]) -> None:
        self.changed.set()
        if self.mark_errors:
            raise self.mark_errors.pop()
        self.marked += dispatches

    async def send(self, dispatches: Sequence[Dispatch]) -> list[Dispatch]:
        self.sending += 1
        self.most_sending = max(self.most_sending, self.sending)
        self.changed.set()
        try:
            await (self.held.wait() if self.held else asyncio.sleep(0))
            self.on_send()
            if self.queue_away:
                raise Unavailable("SQS is away")
            self.sent.append(list(dispatches))
            return [each for each in dispatches if each not in self.refused]
        finally:
            self.sending -= 1
            self.changed.set()

    async def reserve_dead_letters(self, limit: int) -> list[DeadLetter]:
        found, self.letters = self.letters[:limit], self.letters[limit:]
        return found

    async def send_dead_letters(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        assert len(letters) <= SQS_MAX_BATCH
        return [letter for letter in letters if letter.id not in self.letters_refused]

    async def forget_older(self, age: timedelta, limit: int) -> int:
        raise NotImplementedError

    async def forget_orderings(self, unused_for: timedelta) -> int:
        raise NotImplementedError

    async def expire(self, limit: int) -> list[TaskEvent]:
        self.expirations += 1
        found, self.expiring = self.expiring[:limit], self.expiring[limit:]
        return found

    async def silent_queues(self, margin: timedelta) -> list[Queue]:
        return list(self.silent)

    async def is_empty(self, queue: Queue) -> bool:
        return self.silent[queue]

    async def mark_dead_letters_sent(self, ids: Sequence[UUID]) -> None:
        self.letters_marked += ids

    async def rescue_expired(self, limit: int) -> list[TaskEvent]:
        found, self.rescued = self.rescued[:limit], self.rescued[limit:]
        return found

    async def resend_lost(self, margin: timedelta, limit: int) -> int:
        self.asked_to_resend.append((margin, limit))
        return self.lost

    async def raise_watermark(self, queue: Queue, sent_at: datetime) -> None:
        self.watermarks[queue] = sent_at

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            while not holds():
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def running(step: Awaitable[None]) -> AsyncIterator[None]:
    loop = asyncio.ensure_future(step)
    try:
        yield
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


class Events(list[TaskEvent]):
    def publish(self, event: TaskEvent) -> None:
        self.append(event)

    def forget(self, task_id: UUID) -> None: ...


def event(number: int) -> TaskEvent:
    """The rescuer only passes it on."""
    return number  # type: ignore[return-value]
