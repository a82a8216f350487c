"""A hub on a stage: a scripted source of events, a scripted database, and the tasks that they tell of."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from gql.hub import Feeds, Hub
from taskql.errors import Unavailable
from taskql.lifecycle import TaskStatus
from taskql.ports import Hearing, Newer
from taskql.queues import TaskPriority
from taskql.task import EVENT_FIELDS, Task, TaskEvent

OWNER = "alice"
NEVER = timedelta(days=1)
AT_ONCE = timedelta(0)
PENDING, PROCESSING, COMPLETED = TaskStatus.PENDING, TaskStatus.PROCESSING, TaskStatus.COMPLETED


def task_at(version: int, status: TaskStatus = PROCESSING, id: UUID | None = None) -> Task:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    return Task(
        id=id or uuid4(),
        owner=OWNER,
        kind="process",
        title="t",
        description=None,
        input={},
        status=status,
        version=version,
        attempt=1,
        max_attempts=3,
        attempts=(),
        progress=None,
        result=None,
        failure=None,
        priority=TaskPriority.NORMAL,
        ordering_key=None,
        tags=(),
        run_at=None,
        expires_at=None,
        created_at=now,
        updated_at=now,
        started_at=now,
        finished_at=None,
    )


def event(task: Task, version: int, status: TaskStatus = PROCESSING) -> TaskEvent:
    changed = replace(task, version=version, status=status)
    return TaskEvent(**{name: getattr(changed, name) for name in EVENT_FIELDS})


@dataclass
class ScriptedSource:
    """An EventSource whose events the test sends, and whose channels it may refuse or hold back."""

    channels: set[UUID] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    away: bool = False
    unwatching: asyncio.Event = field(default_factory=asyncio.Event)
    may_unwatch: asyncio.Event = field(default_factory=asyncio.Event)
    queue: asyncio.Queue[TaskEvent | Hearing] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.may_unwatch.set()

    async def watch(self, task_id: UUID) -> None:
        self.calls.append("watch")
        if self.away:
            raise Unavailable("Redis is away")
        self.channels.add(task_id)

    async def unwatch(self, task_id: UUID) -> None:
        self.calls.append("unwatch")
        self.unwatching.set()
        await self.may_unwatch.wait()
        self.channels.discard(task_id)

    async def watch_owner(self, owner: str) -> None: ...

    async def unwatch_owner(self, owner: str) -> None: ...

    async def events(self) -> AsyncIterator[TaskEvent | Hearing]:
        while True:
            yield await self.queue.get()
            self.queue.task_done()

    async def send(self, *events: TaskEvent | Hearing) -> None:
        """Returns when the hub has dealt with them."""
        for sent in events:
            self.queue.put_nowait(sent)
        await self.queue.join()


@dataclass
class ScriptedDatabase:
    """What is stored; `before_answer` runs between the question and the answer."""

    tasks: dict[UUID, Task] = field(default_factory=dict)
    questions: list[tuple[str | None, list[UUID]]] = field(default_factory=list)
    comparisons: list[dict[UUID, int]] = field(default_factory=list)
    away: bool = False
    before_answer: Callable[[], Awaitable[None]] | None = None
    asked: asyncio.Condition = field(default_factory=asyncio.Condition)

    def store(self, *tasks: Task) -> None:
        self.tasks |= {task.id: task for task in tasks}

    async def fetch(self, owner: str | None, ids: Collection[UUID]) -> dict[UUID, Task]:
        answer = {id: task for id in ids if (task := self.tasks.get(id)) and task.owner == owner}
        async with self.asked:
            self.questions.append((owner, list(ids)))
            self.asked.notify_all()
        if self.before_answer is not None:
            await self.before_answer()
        if self.away:
            raise Unavailable("PostgreSQL is away")
        return answer

    async def newer(self, known: Mapping[UUID, int]) -> Newer:
        async with self.asked:
            self.comparisons.append(dict(known))
            self.asked.notify_all()
        if self.away:
            raise Unavailable("PostgreSQL is away")
        tasks = [task for id, task in self.tasks.items() if id in known and task.version > known[id]]
        return Newer(tasks, [id for id in known if id not in self.tasks])

    async def until_asked(self, times: int) -> None:
        async with self.asked:
            await self.asked.wait_for(lambda: len(self.comparisons) >= times)


@dataclass
class Stage:
    source: ScriptedSource
    database: ScriptedDatabase
    hub: Hub

    def watch(self, task: Task, after_version: int | None = None) -> AsyncGenerator[Task, None]:
        return self.hub.watch(OWNER, task.id, after_version)


@asynccontextmanager
async def staged(
    *tasks: Task, every: timedelta = NEVER, deaf_every: timedelta = NEVER, feeds: Feeds | None = None
) -> AsyncIterator[Stage]:
    source, database = ScriptedSource(), ScriptedDatabase()
    database.store(*tasks)
    hub = Hub(
        database.fetch, database.newer, source, feeds, reconcile_every=every, reconcile_deaf_every=deaf_every
    )
    async with asyncio.timeout(60), hub.running():
        yield Stage(source, database, hub)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)
