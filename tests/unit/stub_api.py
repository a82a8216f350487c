"""The schema over scripted parts: what resolvers make of requests and answers, without any server."""

import asyncio
import json
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from strawberry.types import ExecutionResult

from gql.context import Context
from gql.queues import LiveQueues
from gql.results import ResultReader, Results
from gql.schema import Schema, build_schema
from gql.viewer import Scope, Viewer
from gql.watch_tokens import WatchTokens
from taskql.errors import NotFound, TooLarge, Unavailable
from taskql.lifecycle import TaskStatus
from taskql.listing import Page, PageRequest, TaskFilter
from taskql.ports import (
    Conflict,
    Created,
    Creation,
    DeadLetter,
    Dispatch,
    Existing,
    Newer,
    QueueFigures,
    Revived,
)
from taskql.queues import Queue, TaskPriority
from taskql.registry import Registry, load_registry
from taskql.service import TaskService
from taskql.task import Lease, NewTask, Task, TaskEvent

TASK_ID = UUID("0198c5a4-6f1e-7b3c-9d2a-4e8f10b7c6d5")
MISSING_ID = UUID("0198c5a4-6f1e-7b3c-9d2a-000000000000")
NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)

STORED = Task(
    id=TASK_ID,
    owner="alice",
    kind="reverse",
    title="a title",
    description=None,
    input={"input_data": "hello", "simulate_seconds": 0},
    status=TaskStatus.PENDING,
    version=1,
    attempt=0,
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
    created_at=NOW,
    updated_at=NOW,
    started_at=None,
    finished_at=None,
)


@dataclass
class StubStore:
    """Holds one task; answers creations with `answer`, with what `answers` has for a title, or `failure`.

    An idempotency key is held where `held` says so.
    """

    task: Task = STORED
    answer: Creation | None = None
    answers: dict[str, Creation] = field(default_factory=dict)
    held: Existing | Conflict | None = None
    failure: Exception | None = None
    created: list[NewTask] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    looked_up: list[NewTask] = field(default_factory=list)
    pages: list[tuple[TaskFilter, PageRequest]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    matching: int = 1
    moments: list[datetime] = field(default_factory=list)

    async def create(self, tasks: Sequence[NewTask]) -> list[Creation]:
        self.raise_failure()
        self.created += tasks
        self.batches.append(len(tasks))
        return [self.answers.get(task.title) or self.answer or stored(task) for task in tasks]

    async def repeated(self, task: NewTask) -> Existing | Conflict | None:
        self.looked_up.append(task)
        return self.held

    async def fetch(self, owner: str | None, ids: Collection[UUID]) -> dict[UUID, Task]:
        self.raise_failure()
        return {id: self.task for id in ids if id == self.task.id and owner in (self.task.owner, None)}

    async def page(self, owner: str | None, filter: TaskFilter, request: PageRequest) -> Page:
        self.raise_failure()
        self.pages.append((filter, request))
        return Page((self.task,), False, True)

    async def count(self, owner: str | None, filter: TaskFilter, limit: int) -> int:
        self.counts.append(limit)
        return min(self.matching, limit)

    async def newer(self, known: Mapping[UUID, int]) -> Newer:
        behind = [self.task] if known.get(self.task.id, self.task.version) < self.task.version else []
        return Newer(behind, known.keys() - {self.task.id})

    async def changed_since(self, owner: str, moment: datetime, limit: int) -> list[Task]:
        return []

    async def as_of(self) -> datetime:
        assert not self.pages, "a page was read before"
        self.moments.append(NOW)
        return NOW

    async def ping(self) -> None:
        self.raise_failure()

    def raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure


@dataclass
class StubHub:
    """Tells `states`, then raises `failure`, if there is one."""

    states: Sequence[Task] = ()
    failure: Exception | None = None
    asked: list[tuple[str | None, UUID, int | None]] = field(default_factory=list)
    closed: bool = False

    async def watch(
        self, owner: str | None, task_id: UUID, after_version: int | None
    ) -> AsyncGenerator[Task, None]:
        self.asked.append((owner, task_id, after_version))
        try:
            for state in self.states:
                yield state
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed = True


@dataclass
class StubFeeds:
    """Tells `states`, then raises `failure`, if there is one."""

    states: Sequence[Task] = ()
    failure: Exception | None = None
    asked: list[tuple[str, TaskFilter]] = field(default_factory=list)
    closed: bool = False

    async def follow(self, owner: str, filter: TaskFilter) -> AsyncGenerator[Task, None]:
        self.asked.append((owner, filter))
        try:
            for state in self.states:
                yield state
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed = True


@dataclass
class StubQueues:
    """Answers its figures, or what it fails with; counts the polls."""

    polls: int = 0
    failure: Exception | None = None

    async def figures(self) -> list[QueueFigures]:
        self.polls += 1
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return [
            QueueFigures(queue, self.polls, 2, 3, timedelta(seconds=1.5) if queue is Queue.HIGH else None, 4)
            for queue in Queue
        ]


LETTERS = [
    DeadLetter(UUID(int=number), "FOREIGN_MESSAGE: no JSON", "body", None, None, Queue.NORMAL, NOW)
    for number in (3, 2, 1)
]


@dataclass
class StubControl:
    """Answers what it was told to, for one owner: nothing changes unless `changed` is set."""

    changed: Task | None = None
    asked: list[tuple[str | None, Any]] = field(default_factory=list)
    filters: list[TaskFilter] = field(default_factory=list)

    async def cancel(self, owner: str | None, task_id: UUID) -> Task | None:
        self.asked.append((owner, task_id))
        return self.changed

    async def retry(
        self, owner: str | None, ids: Collection[UUID], max_attempts: Mapping[str, int]
    ) -> list[Revived]:
        self.asked.append((owner, max_attempts))
        task = self.changed
        return [Revived(task, Dispatch(task.id, task.queue, task.attempt))] if task and ids else []

    async def failed(self, owner: str | None, filter: TaskFilter, limit: int) -> list[UUID]:
        self.asked.append((owner, limit))
        self.filters.append(filter)
        return [self.changed.id] if self.changed else []

    async def delete(self, owner: str | None, task_id: UUID) -> bool:
        self.asked.append((owner, task_id))
        return self.changed is not None


class StubLetters:
    async def page(self, limit: int, after: UUID | None = None) -> list[DeadLetter]:
        return [letter for letter in LETTERS if after is None or letter.id < after][:limit]

    async def fetch(self, ids: Collection[UUID]) -> dict[UUID, DeadLetter]:
        return {letter.id: letter for letter in LETTERS if letter.id in ids}


class NoEvents:
    def publish(self, event: TaskEvent) -> None:
        pass

    def forget(self, task_id: UUID) -> None:
        pass


class NoOutbox:
    def offer(self, dispatches: Sequence[Dispatch]) -> None:
        pass

    def wake(self, groups: Collection[str] = ()) -> None:
        pass


class StubResults:
    """Documents by their locations; `reads` is what was asked for."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.reads: list[str] = []
        self.most_at_once = self._at_once = 0
        self.away = False

    def store(self, result: Any, location: str = "s3://bucket/one") -> str:
        self.documents[location] = json.dumps({"kind": "k", "input": {}, "result": result}).encode()
        return location

    async def put(self, lease: Lease, document: bytes) -> str:
        raise NotImplementedError

    async def get(self, location: str, max_bytes: int) -> bytes:
        self.reads.append(location)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(0)
        self._at_once -= 1
        if self.away:
            raise Unavailable("S3 is away")
        if location not in self.documents:
            raise NotFound(location)
        if len(self.documents[location]) > max_bytes:
            raise TooLarge(location)
        return self.documents[location]

    async def url(self, location: str, valid_for: timedelta) -> str:
        return f"https://signed/{location}?{valid_for.total_seconds():g}"

    async def forget(self, location: str) -> None:
        raise NotImplementedError

    async def drop(self, location: str) -> None:
        raise NotImplementedError

    async def ping(self) -> None: ...


@cache
def shipped() -> Schema:
    """The schema of the handlers that come with TaskQL, made once: it costs more than most tests."""
    return build_schema(load_registry())


def viewer(owner: str) -> Viewer:
    """Somebody who may do all that clients do, and has no end."""
    return Viewer(owner, frozenset({Scope.READ, Scope.WRITE}))


async def stub_secret(name: str) -> bytes:
    return name.encode().ljust(32, b".")


class StubApi:
    """A schema to execute documents with, and the parts that were asked."""

    def __init__(
        self,
        registry: Registry | None = None,
        hub: StubHub | None = None,
        asks: Viewer | None = None,
        schema: Schema | None = None,
    ) -> None:
        self.registry = registry or load_registry()
        self.schema = schema or (build_schema(registry) if registry else shipped())
        self.schema.documents.remembered.cache_clear()
        self.store = StubStore()
        self.control = StubControl()
        self.hub = hub or StubHub()
        service = TaskService(self.store, self.control, self.store, NoEvents(), self.registry, NoOutbox())
        self.feeds = StubFeeds()
        self.queues = StubQueues()
        self.results = StubResults()
        self.watch_tokens = WatchTokens(stub_secret)
        self.context = Context(
            asks or viewer("alice"),
            service,
            self.hub,
            StubLetters(),
            self.feeds,
            LiveQueues(self.queues),
            self.watch_tokens,
            Results(ResultReader(self.results)),
        )

    async def execute(self, document: str, **variables: Any) -> ExecutionResult:
        return await self.schema.execute(document, variables, self.context)

    async def data(self, document: str, **variables: Any) -> dict[str, Any]:
        """What comes of a document that works."""
        result = await self.execute(document, **variables)
        assert result.errors is None
        assert result.data is not None
        return result.data

    async def error(self, document: str, **variables: Any) -> dict[str, Any]:
        """The one error of a document that does not."""
        result = await self.execute(document, **variables)
        assert result.errors is not None
        [error] = result.errors
        return dict(error.formatted)

    async def stream(self, document: str, **variables: Any) -> list[ExecutionResult]:
        results = await self.schema.subscribe(document, variables, self.context)
        return [result async for result in results]


def stored(new: NewTask) -> Created:
    task = as_stored(new)
    return Created(task, Dispatch(task.id, task.queue, 0))


def as_stored(task: NewTask) -> Task:
    return replace(
        STORED,
        kind=task.kind,
        title=task.title,
        description=task.description,
        input=dict(task.input),
        priority=task.priority,
        ordering_key=task.ordering_key,
        tags=tuple(task.tags),
        run_at=task.run_at,
        expires_at=task.expires_at,
    )


def code(error: dict[str, Any]) -> str:
    return str(error["extensions"]["code"])
