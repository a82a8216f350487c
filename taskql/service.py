"""What clients can ask of TaskQL, free of any protocol: checks, one transaction, then the notices."""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from taskql.errors import AlreadyFinished, InputIssue, InvalidInput, NotFinished, NotFound, NotRetryable
from taskql.listing import Page, PageRequest, TaskFilter
from taskql.ports import Created, Creation, Dispatch, EventSink, Revived, TaskControl, TaskStore
from taskql.registry import Registry
from taskql.storable import UNSTORABLE_TEXT, is_storable, json_size, unstorable
from taskql.task import JSON, NewTask, Task

MAX_TITLE_CHARS = 255
MAX_DESCRIPTION_CHARS = 10_000
MAX_IDEMPOTENCY_KEY_CHARS = 255
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
    idempotency_key: str | None = None
    sent: JSON = None


class TaskService:
    """The requests of clients, each for one owner."""

    def __init__(
        self,
        store: TaskStore,
        control: TaskControl,
        events: EventSink,
        registry: Registry,
        offer: Callable[[Sequence[Dispatch]], None],
    ) -> None:
        self._store = store
        self._control = control
        self._events = events
        self._offer = offer
        self.registry = registry

    async def create(self, owner: str, request: CreateRequest) -> Creation:
        """Store one task. Raises InvalidInput, having stored nothing, where the request can't be accepted."""
        [creation] = await self.create_all([self.checked(owner, request)])
        return creation

    async def create_all(self, tasks: Sequence[NewTask]) -> list[Creation]:
        creations = await self._store.create(tasks)
        created = [creation for creation in creations if isinstance(creation, Created)]
        self._offer([creation.dispatch for creation in created])
        for creation in created:
            self._events.publish(creation.task)
        return creations

    def checked(self, owner: str, request: CreateRequest) -> NewTask:
        """The request as a task to be stored, every field checked."""
        issues: list[InputIssue] = []
        title = request.title.strip()
        issues += text_issues("title", title, 1, MAX_TITLE_CHARS)
        if request.description is not None:
            issues += text_issues("description", request.description, 0, MAX_DESCRIPTION_CHARS)
        if request.idempotency_key is not None:
            issues += text_issues("idempotency_key", request.idempotency_key, 1, MAX_IDEMPOTENCY_KEY_CHARS)
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

    async def _revive(self, owner: str, ids: Collection[UUID]) -> list[Revived]:
        revived = await self._control.retry(owner, ids, self.registry.max_attempts)
        self._offer([each.dispatch for each in revived])
        for each in revived:
            self._events.publish(each.task)
        return revived

    async def _existing(self, owner: str, task_id: UUID) -> Task:
        if task := await self.get(owner, task_id):
            return task
        raise NotFound(f"There is no task {task_id}, or it is not yours.")

    async def get(self, owner: str, task_id: UUID) -> Task | None:
        return (await self._store.fetch(owner, [task_id])).get(task_id)

    async def fetch(self, owner: str, ids: Collection[UUID]) -> dict[UUID, Task]:
        return await self._store.fetch(owner, ids)

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
