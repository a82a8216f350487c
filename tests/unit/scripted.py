"""What a worker works with, scripted: PostgreSQL, SQS and Redis as it sees them, and handlers with a gate."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from pydantic import BaseModel

from consumer.executor import Executor
from taskql import TaskContext, handler
from taskql.errors import Unavailable
from taskql.handler import declared
from taskql.lifecycle import TaskStatus
from taskql.message import encode
from taskql.policy import Policy
from taskql.ports import Claim, Claimed, Completion, Created, Dispatch, Message, MessageReceiver, Revived
from taskql.queues import Queue, TaskPriority
from taskql.registry import Registry
from taskql.task import JSON, Failure, Lease, NewTask, Progress, Task, TaskEvent

NOW = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
AT_ONCE = timedelta(milliseconds=1)
NOTHING = timedelta(0)
LONGEST_WAIT_SECONDS = 60
AWAY = Unavailable("away")


class Out(BaseModel):
    x: int


def a_task(task_id: UUID, kind: str = "test", ordering_key: str | None = None) -> Task:
    return Task(
        id=task_id, status=TaskStatus.PROCESSING, version=2, attempt=1, max_attempts=3, attempts=(),
        progress=None, result=None, failure=None, expires_at=None, updated_at=NOW, started_at=NOW,
        finished_at=None, owner="ada", kind=kind, title="a title", description=None, input={},
        priority=TaskPriority.NORMAL, ordering_key=ordering_key, tags=(), run_at=None, created_at=NOW,
    )  # fmt: skip


def a_message(
    task_id: UUID | None = None, body: str | None = None, queue: Queue = Queue.NORMAL, **more: Any
) -> Message:
    return Message(body or encode(task_id or uuid4()), "receipt", queue, NOW, 1, **more)


def messages(count: int, queue: Queue = Queue.NORMAL) -> list[Message]:
    return [a_message(queue=queue) for _ in range(count)]


class Outside:
    """PostgreSQL, SQS and Redis as the worker sees them. `log` holds what happened, in order."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.log: list[tuple[Any, ...]] = []
        self.raising: dict[str, deque[Exception]] = {}
        self.lost: set[Lease] = set()
        self.claim_is: Callable[[UUID], Claim | Exception] = lambda task_id: Claimed(
            Lease(task_id, 1), a_task(task_id)
        )
        self.revived: Revived | None = None
        self.created: Sequence[Created] = ()
        self.waiting: dict[Queue, deque[Message]] = {queue: deque() for queue in Queue}
        self.polls: dict[Queue, list[asyncio.Event]] = {}
        self.asked: list[tuple[Queue, int]] = []
        self.turns_of_an_answer = 0
        self.may_acknowledge = asyncio.Event()
        self.may_acknowledge.set()

    def note(self, *entry: Any) -> None:
        """Write down what happens, or raise what the test scripted for it."""
        scripted = self.raising.get(entry[0])
        self.log.append(entry)
        self.changed.set()
        if scripted:
            raise scripted.popleft()

    def fails(self, name: str, *errors: Exception) -> None:
        self.raising[name] = deque(errors)

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        return [entry for entry in self.log if entry[0] in names]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def until_idle(self) -> None:
        """Until all queues are listened to."""
        await self.until(lambda: self.polls.keys() == set(Queue))

    # the receiver

    def hold(self, *arrived: Message) -> None:
        """Messages are in their queues, and no open poll brings them."""
        for message in arrived:
            self.waiting[message.queue].append(message)

    def bring(self, *arrived: Message) -> None:
        """Messages arrive; the open polls bring them."""
        self.hold(*arrived)
        for queue in {message.queue for message in arrived} & self.polls.keys():
            self.polls[queue][0].set()

    def end_polls(self, *queues: Queue) -> None:
        """The open polls are over, with what is there by now."""
        for queue in queues or tuple(self.polls):
            for answer in self.polls[queue]:
                answer.set()

    async def receive(self, queue: Queue, limit: int, wait: timedelta) -> list[Message]:
        assert limit > 0
        self.asked.append((queue, limit))
        self.note(f"receive {queue}")
        answer = asyncio.Event()
        self.polls.setdefault(queue, []).append(answer)
        try:
            for _ in range(self.turns_of_an_answer):
                await asyncio.sleep(0)
            if not self.waiting[queue]:
                self.changed.set()
                await answer.wait()
            here = self.waiting[queue]
            return [here.popleft() for _ in range(min(limit, len(here)))]
        finally:
            self.polls[queue].remove(answer)
            if not self.polls[queue]:
                del self.polls[queue]
            self.changed.set()

    async def acknowledge(self, message: Message) -> None:
        await self.may_acknowledge.wait()
        self.note("acknowledge", message)

    async def hide(self, message: Message, duration: timedelta) -> None:
        self.note("hide", message, duration)
        if duration == NOTHING:
            self.waiting[message.queue].appendleft(message)

    async def ping(self) -> None: ...

    # the lease store

    async def claim(self, task_id: UUID, kinds: Collection[str], lease_for: timedelta) -> Claim:
        self.note("claim", task_id)
        found = self.claim_is(task_id)
        if isinstance(found, Exception):
            raise found
        return found

    async def extend(self, lease: Lease, lease_for: timedelta) -> None:
        self.note("extend", lease)

    async def held(self, leases: Collection[Lease]) -> set[Lease]:
        return set(leases) - self.lost

    async def progress(self, lease: Lease, progress: Progress) -> TaskEvent:
        self.note("progress", progress)
        return a_task(lease.task_id)

    async def complete(
        self, lease: Lease, result: JSON, location: str | None = None, follow_ups: Sequence[NewTask] = ()
    ) -> Completion:
        self.note("complete", lease, result, location)
        return Completion(a_task(lease.task_id), self.created)

    async def retry(self, lease: Lease, failure: Failure, delay: timedelta) -> TaskEvent:
        self.note("retry", lease, failure)
        return a_task(lease.task_id)

    async def fail(self, lease: Lease, failure: Failure) -> TaskEvent:
        self.note("fail", lease, failure)
        return a_task(lease.task_id)

    async def release(self, lease: Lease) -> TaskEvent:
        self.note("release", lease)
        return a_task(lease.task_id)

    async def redrive(
        self, task_id: UUID, failed_attempt: int, max_attempts: Mapping[str, int]
    ) -> Revived | None:
        self.note("redrive", task_id, failed_attempt)
        return self.revived

    async def bury(self, queue: Queue, body: str, reason: str) -> None:
        self.note("bury", body, reason)

    # the events and the outbox

    def publish(self, event: TaskEvent) -> None:
        self.note("publish", event.id)

    def forget(self, task_id: UUID) -> None: ...

    def offer(self, dispatches: Sequence[Dispatch]) -> None:
        self.note("offer", list(dispatches))

    def wake(self, groups: Collection[str] = ()) -> None:
        self.note("wake", list(groups))


class Handlers:
    """The handlers under test: they run until their gate is opened."""

    def __init__(self, outside: Outside) -> None:
        self.gate = asyncio.Event()
        self.thread_gate = threading.Event()
        self.running = self.most_running = 0
        self.started = 0

        @handler("test", timeout=HOUR)
        async def in_loop(task: TaskContext) -> Out:
            self.started += 1
            self.running += 1
            self.most_running = max(self.running, self.most_running)
            outside.changed.set()
            try:
                await self.gate.wait()
            finally:
                self.running -= 1
                outside.changed.set()
            return Out(x=1)

        @handler("slowThread", timeout=AT_ONCE)
        def in_thread(task: TaskContext) -> Out:
            self.thread_gate.wait(LONGEST_WAIT_SECONDS)
            return Out(x=1)

        found = [declared(in_loop), declared(in_thread)]
        self.registry = Registry(each for each in found if each)


def an_executor(
    outside: Outside,
    handlers: Handlers,
    *,
    receiver: MessageReceiver | None = None,
    beat_every: timedelta = HOUR,
    lease_for: timedelta = HOUR,
) -> Executor:
    return Executor(
        outside,
        receiver or outside,
        outside,
        outside,
        handlers.registry,
        lease_for=lease_for,
        beat_every=beat_every,
        policy=Policy(),
        resources={},
        results=None,
    )
