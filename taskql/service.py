"""What clients can ask of TaskQL, free of any protocol: checks, one transaction, then the notices."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from taskql.errors import AlreadyFinished, InputIssue, InvalidInput, NotFinished, NotFound, NotRetryable
from taskql.listing import Page, PageRequest, TaskFilter
from taskql.ports import (
    Created,
    Creation,
    EventSink,
    Newer,
    Outbox,
    Revived,
    SnapshotCache,
    TaskControl,
    TaskStore,
)
from taskql.queues import TaskPriority
from taskql.registry import Registry
from taskql.storable import UNSTORABLE_TEXT, is_storable, json_size, unstorable
from taskql.task import JSON, NewTask, Task

MAX_TITLE_CHARS = 255
MAX_DESCRIPTION_CHARS = 10_000
MAX_IDEMPOTENCY_KEY_CHARS = 255
MAX_ORDERING_KEY_CHARS = 128
MAX_TAGS = 10
MAX_TAG_CHARS = 64
MAX_TASKS_AT_ONCE = 500
MAX_INPUT_BYTES = 256 * 1024
MAX_MATCHED = 10_000
DEFAULT_KIND = "process"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """A client's wish for a task.

    `kind` and `work` name the handler and its input (by the model's own field names); `sent` is the request
    as the client sent it, before any default: what an idempotency key is held against.
    """

    title: str
    description: str | None = None
    kind: str = DEFAULT_KIND
    work: JSON = None
    priority: TaskPriority = TaskPriority.NORMAL
    run_at: datetime | None = None
    expires_at: datetime | None = None
    idempotency_key: str | None = None
    ordering_key: str | None = None
    tags: Sequence[str] = ()
    sent: JSON = None


class TaskService:
    """The requests of clients, each for one owner."""

    def __init__(
        self,
        store: TaskStore,
        control: TaskControl,
        events: EventSink,
        registry: Registry,
        outbox: Outbox,
        snapshots: SnapshotCache | None = None,
    ) -> None:
        self._store = store
        self._control = control
        self._events = events
        self._outbox = outbox
        self._snapshots = snapshots
        self.registry = registry

    async def create(self, owner: str, request: CreateRequest) -> Creation:
        """Store one task. Raises InvalidInput, having stored nothing, where the request can't be accepted."""
        [outcome] = await self.create_many(owner, [request])
        if isinstance(outcome, InvalidInput):
            raise outcome
        return outcome

    async def create_many(
        self, owner: str, requests: Sequence[CreateRequest]
    ) -> list[Creation | InvalidInput]:
        """Store what can be accepted in one transaction; an outcome for each request, in order."""
        outcomes: list[Creation | InvalidInput | NewTask] = [
            await self._accepted(owner, request) for request in requests
        ]
        wanted = [outcome for outcome in outcomes if isinstance(outcome, NewTask)]
        creations = iter(await self._store.create(wanted) if wanted else ())
        answers = [next(creations) if isinstance(each, NewTask) else each for each in outcomes]
        self._tell(answer for answer in answers if isinstance(answer, Created))
        return answers

    async def _accepted(self, owner: str, request: CreateRequest) -> NewTask | Creation | InvalidInput:
        """The request as a task to be stored, or what it meets instead.

        A repeated request is answered as the first one was, though its times may have passed meanwhile.
        """
        issues = time_issues(request, datetime.now(UTC))
        try:
            task = self.checked(owner, request)
        except InvalidInput as error:
            return InvalidInput(*error.issues, *issues)
        if not issues:
            return task
        repeated = await self._store.repeated(task) if task.idempotency_key is not None else None
        return repeated or InvalidInput(*issues)

    def checked(self, owner: str, request: CreateRequest) -> NewTask:
        """The request as a task to be stored, every field checked but for its times."""
        issues: list[InputIssue] = []
        title = request.title.strip()
        issues += text_issues("title", title, 1, MAX_TITLE_CHARS)
        if request.description is not None:
            issues += text_issues("description", request.description, 0, MAX_DESCRIPTION_CHARS)
        if request.idempotency_key is not None:
            issues += text_issues("idempotency_key", request.idempotency_key, 1, MAX_IDEMPOTENCY_KEY_CHARS)
        if request.ordering_key is not None:
            issues += text_issues("ordering_key", request.ordering_key, 1, MAX_ORDERING_KEY_CHARS)
            if request.priority is not TaskPriority.NORMAL:
                issues.append(
                    (("priority",), f"is {request.priority}; with an orderingKey it must be NORMAL")
                )
        issues += tag_issues(request.tags)
        handler = self.registry[request.kind]
        stored: JSON = {}
        try:
            stored = handler.stored(request.work or {})
            issues += json_issues(("work", request.kind), stored)
        except InvalidInput as error:
            issues += [(("work", request.kind, *path), reason) for path, reason in error.issues]
        if issues:
            raise InvalidInput(*issues)
        return NewTask(
            owner=owner,
            kind=request.kind,
            title=title,
            description=request.description,
            input=stored,
            max_attempts=handler.max_attempts,
            priority=request.priority,
            ordering_key=request.ordering_key,
            tags=tuple(dict.fromkeys(request.tags)),
            run_at=request.run_at,
            expires_at=request.expires_at,
            idempotency_key=request.idempotency_key,
            request_hash=request_hash(request.sent) if request.idempotency_key is not None else None,
        )

    async def cancel(self, owner: str, task_id: UUID) -> Task:
        """CANCELLED at once; a running attempt loses its lease. Raises NotFound or AlreadyFinished."""
        task = await self._control.cancel(owner, task_id)
        if task is None:
            found = await self._existing(owner, task_id)
            raise AlreadyFinished(f"The task is {found.status} already; there is nothing left to cancel.")
        self._events.publish(task)
        if task.ordering_group is not None:
            self._outbox.wake([task.ordering_group])
        return task

    async def retry(self, owner: str, task_id: UUID) -> Task:
        """PENDING again, with as many attempts as its kind has. Raises NotFound or NotRetryable."""
        revived = await self._revive(owner, [task_id])
        if not revived:
            found = await self._existing(owner, task_id)
            raise NotRetryable(f"The task is {found.status}; only FAILED and CANCELLED ones can be retried.")
        return revived[0].task

    async def redrive(self, owner: str, filter: TaskFilter, limit: int) -> int:
        """Retry the oldest FAILED tasks that match, up to `limit`; answers how many there were."""
        return len(await self._revive(owner, await self._control.failed(owner, filter, limit)))

    async def count_failed(self, owner: str, filter: TaskFilter) -> int:
        """How many FAILED tasks match, counting no further than MAX_MATCHED."""
        return len(await self._control.failed(owner, filter, MAX_MATCHED))

    async def delete(self, owner: str, task_id: UUID) -> None:
        """Forget a terminal task. Raises NotFound or NotFinished."""
        if not await self._control.delete(owner, task_id):
            found = await self._existing(owner, task_id)
            raise NotFinished(f"The task is {found.status}; cancel it first, or wait for its end.")
        self._events.forget(task_id)

    async def _revive(self, owner: str, ids: Collection[UUID]) -> list[Revived]:
        revived = await self._control.retry(owner, ids, self.registry.max_attempts)
        self._tell(revived)
        return revived

    def _tell(self, stored: Iterable[Created | Revived]) -> None:
        """Have what is stored sent, and known to its watchers."""
        found = list(stored)
        self._outbox.offer([each.dispatch for each in found if each.dispatch is not None])
        if groups := {group for each in found if (group := each.task.ordering_group) is not None}:
            self._outbox.wake(groups)
        for each in found:
            self._events.publish(each.task)

    async def _existing(self, owner: str, task_id: UUID) -> Task:
        """As it is stored, so that a refusal tells what it was refused for."""
        if task := (await self._store.fetch(owner, [task_id])).get(task_id):
            return task
        raise NotFound(f"There is no task {task_id}, or it is not yours.")

    async def get(self, owner: str, task_id: UUID) -> Task | None:
        """The owner's task, from the cache where it is known there: at most two seconds behind the store.

        Somebody else's task is sought in the store like one that is missing, and found as little.
        """
        known = await self._snapshots.fetch(task_id) if self._snapshots else None
        if known is not None and known.owner == owner:
            return known
        task = (await self._store.fetch(owner, [task_id])).get(task_id)
        if task is not None and self._snapshots:
            self._snapshots.keep(task)
        return task

    async def fetch(self, owner: str, ids: Collection[UUID]) -> dict[UUID, Task]:
        return await self._store.fetch(owner, ids)

    async def newer(self, known: Mapping[UUID, int]) -> Newer:
        """What has become of tasks since the versions that are known; not anybody's own."""
        return await self._store.newer(known)

    async def changed_since(self, owner: str, moment: datetime, limit: int) -> list[Task]:
        return await self._store.changed_since(owner, moment, limit)

    async def as_of(self) -> datetime:
        """A moment before which nothing changes any more."""
        return await self._store.as_of()

    async def page(self, owner: str, filter: TaskFilter, request: PageRequest) -> Page:
        return await self._store.page(owner, filter, request)

    async def count(self, owner: str, filter: TaskFilter, limit: int) -> int:
        """How many tasks match, counting no further than `limit`."""
        return await self._store.count(owner, filter, limit)


def text_issues(field: str, text: str, least: int, most: int) -> list[InputIssue]:
    """What is wrong with a text: its length in characters, or characters that can't be stored."""
    if not is_storable(text):
        return [((field,), UNSTORABLE_TEXT)]
    if len(text) < least:
        return [((field,), "is blank; give at least one visible character")]
    if len(text) > most:
        return [((field,), f"has {len(text)} characters; the most is {most}")]
    return []


def tag_issues(tags: Sequence[str]) -> list[InputIssue]:
    if len(tags) > MAX_TAGS:
        return [(("tags",), f"has {len(tags)} tags; the most is {MAX_TAGS}")]
    return [
        (("tags", str(index)), reason)
        for index, tag in enumerate(tags)
        for _, reason in text_issues("tags", tag, 1, MAX_TAG_CHARS)
    ]


def time_issues(request: CreateRequest, now: datetime) -> list[InputIssue]:
    """What is wrong with the times of a request. A `run_at` that has passed means at once."""
    if request.expires_at is None:
        return []
    if request.expires_at <= now:
        return [(("expires_at",), "has passed already; give a moment that is still to come")]
    if request.run_at is not None and request.expires_at <= request.run_at:
        return [(("expires_at",), "is no later than runAt, so the task could never start")]
    return []


def json_issues(path: tuple[str, ...], value: JSON) -> list[InputIssue]:
    """What is wrong with a kind's input as JSON: what can't be stored, or its size."""
    if found := list(unstorable(value, path)):
        return found
    if (size := json_size(value)) > MAX_INPUT_BYTES:
        return [(path, f"has {size} bytes as JSON; the most is {MAX_INPUT_BYTES}")]
    return []


def request_hash(sent: JSON) -> bytes:
    """A digest that is the same for requests that mean the same: the order of keys and 1 or 1.0 don't count.

    Nor does a field of the request itself that is null; within a kind's input null may differ from left out.
    """
    given = {key: value for key, value in (sent or {}).items() if value is not None}
    return hashlib.sha256(json.dumps(canonical(given), sort_keys=True).encode()).digest()


def canonical(value: JSON) -> JSON:
    match value:
        case dict():
            return {key: canonical(item) for key, item in value.items()}
        case list() | tuple():
            return [canonical(item) for item in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
