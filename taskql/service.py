"""What clients can ask of TaskQL, free of any protocol: checks, one transaction, then the notices."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from taskql.creation import CreateRequest, checked, time_issues
from taskql.errors import AlreadyFinished, InvalidInput, NotFinished, NotFound, NotRetryable
from taskql.listing import Page, PageRequest, TaskFilter
from taskql.notices import tell
from taskql.ports import (
    Created,
    Creation,
    EventSink,
    Newer,
    Outbox,
    Revived,
    SnapshotCache,
    TaskControl,
    TaskListings,
    TaskStore,
)
from taskql.registry import Registry
from taskql.task import NewTask, Task

MAX_MATCHED = 10_000


class TaskService:
    """The requests of clients, each for one owner; with None, an administrator's, for everybody's tasks."""

    def __init__(
        self,
        store: TaskStore,
        control: TaskControl,
        listings: TaskListings,
        events: EventSink,
        registry: Registry,
        outbox: Outbox,
        snapshots: SnapshotCache | None = None,
    ) -> None:
        self._store = store
        self._control = control
        self._listings = listings
        self._events = events
        self._outbox = outbox
        self._snapshots = snapshots
        self.registry = registry

    async def create(self, owner: str, request: CreateRequest) -> Creation:
        """Store one task. Raises InvalidInput, having stored nothing, where the request can't be accepted."""
        accepted = await self._accepted(owner, request)
        if isinstance(accepted, InvalidInput):
            raise accepted
        if not isinstance(accepted, NewTask):
            return accepted
        [creation] = await self._store.create([accepted])
        if isinstance(creation, Created):
            tell([creation], self._outbox, self._events)
        return creation

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
        tell([answer for answer in answers if isinstance(answer, Created)], self._outbox, self._events)
        return answers

    async def _accepted(self, owner: str, request: CreateRequest) -> NewTask | Creation | InvalidInput:
        """The request as a task to be stored, or what it meets instead.

        A repeated request is answered as the first one was, though its times may have passed meanwhile.
        """
        issues = time_issues(request, datetime.now(UTC))
        try:
            task = checked(owner, request, self.registry)
        except InvalidInput as error:
            return InvalidInput(*error.issues, *issues)
        if not issues:
            return task
        repeated = await self._store.repeated(task) if task.idempotency_key is not None else None
        return repeated or InvalidInput(*issues)

    async def cancel(self, owner: str | None, task_id: UUID) -> Task:
        """CANCELLED at once; a running attempt loses its lease. Raises NotFound or AlreadyFinished."""
        task = await self._control.cancel(owner, task_id)
        if task is None:
            found = await self._existing(owner, task_id)
            raise AlreadyFinished(f"The task is {found.status} already; there is nothing left to cancel.")
        self._events.publish(task)
        if task.ordering_group is not None:
            self._outbox.wake([task.ordering_group])
        return task

    async def retry(self, owner: str | None, task_id: UUID) -> Task:
        """PENDING again, with as many attempts as its kind has. Raises NotFound or NotRetryable."""
        revived = await self._revive(owner, [task_id])
        if not revived:
            found = await self._existing(owner, task_id)
            raise NotRetryable(f"The task is {found.status}; only FAILED and CANCELLED ones can be retried.")
        return revived[0].task

    async def redrive(self, owner: str | None, filter: TaskFilter, limit: int) -> int:
        """Retry the oldest FAILED tasks that match, up to `limit`; answers how many there were."""
        return len(await self._revive(owner, await self._control.failed(owner, filter, limit)))

    async def count_failed(self, owner: str | None, filter: TaskFilter) -> int:
        """How many FAILED tasks match, counting no further than MAX_MATCHED."""
        return len(await self._control.failed(owner, filter, MAX_MATCHED))

    async def delete(self, owner: str | None, task_id: UUID) -> None:
        """Forget a terminal task. Raises NotFound or NotFinished."""
        if not await self._control.delete(owner, task_id):
            found = await self._existing(owner, task_id)
            raise NotFinished(f"The task is {found.status}; cancel it first, or wait for its end.")
        self._events.forget(task_id)

    async def _revive(self, owner: str | None, ids: Collection[UUID]) -> list[Revived]:
        revived = await self._control.retry(owner, ids, self.registry.max_attempts)
        tell(revived, self._outbox, self._events)
        return revived

    async def _existing(self, owner: str | None, task_id: UUID) -> Task:
        """As it is stored, so that a refusal tells what it was refused for."""
        if task := (await self._store.fetch(owner, [task_id])).get(task_id):
            return task
        raise NotFound(f"There is no task {task_id}, or it is not yours.")

    async def get(self, owner: str | None, task_id: UUID) -> Task | None:
        """The owner's task, from the cache where it is known there: at most two seconds behind the store.

        Somebody else's task is sought in the store like one that is missing, and found as little.
        """
        known = await self._snapshots.fetch(task_id) if self._snapshots else None
        if known is not None and owner in (known.owner, None):
            return known
        task = (await self._store.fetch(owner, [task_id])).get(task_id)
        if task is not None and self._snapshots:
            self._snapshots.keep(task)
        return task

    async def fetch(self, owner: str | None, ids: Collection[UUID]) -> dict[UUID, Task]:
        return await self._store.fetch(owner, ids)

    async def newer(self, known: Mapping[UUID, int]) -> Newer:
        """What has become of tasks since the versions that are known; not anybody's own."""
        return await self._store.newer(known)

    async def changed_since(self, owner: str, moment: datetime, limit: int) -> list[Task]:
        return await self._store.changed_since(owner, moment, limit)

    async def as_of(self) -> datetime:
        """A moment before which nothing changes any more."""
        return await self._store.as_of()

    async def page(self, owner: str | None, filter: TaskFilter, request: PageRequest) -> Page:
        return await self._listings.page(owner, filter, request)

    async def count(self, owner: str | None, filter: TaskFilter, limit: int) -> int:
        """How many tasks match, counting no further than `limit`."""
        return await self._listings.count(owner, filter, limit)
