"""What is somebody else's takes the same way through the service as what does not exist: the same statements,
the same outcome. So neither words nor times tell the two apart.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from taskql.creation import CreateRequest
from taskql.errors import Refusal
from taskql.lifecycle import TERMINAL
from taskql.listing import PageRequest, Position, TaskFilter
from taskql.ports import Dispatch
from taskql.registry import load_registry
from taskql.service import TaskService
from taskql.task import Failure, Task, TaskEvent
from tests.contract.conftest import OWNER, Database
from tests.contract.plans import noted

MALLORY = "mallory"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
STATUSES = ("PENDING", "PROCESSING", "COMPLETED", "FAILED")
THEIRS = f"SELECT * FROM tasks WHERE owner = '{OWNER}'"
VARIES = re.compile(r"UUID\('[^']*'\)|datetime\([^)]*\)|[0-9a-f-]{36}|'(theirs|nothing)'")
"""Ids, moments, and the word that was sent."""


@dataclass(frozen=True)
class Target:
    """What is asked for: a task of somebody else's, or nothing at all.

    `word` is its title, its tag and its idempotency key.
    """

    id: UUID
    word: str

    def request(self, expires_at: datetime | None = None) -> CreateRequest:
        return CreateRequest(title="mine", idempotency_key=self.word, expires_at=expires_at)

    @property
    def filters(self) -> list[TaskFilter]:
        return [
            TaskFilter(),
            TaskFilter(title_contains=self.word, updated_after=LONG_AGO),
            TaskFilter(tags=[self.word]),
            TaskFilter(status=list(TERMINAL)),
        ]

    @property
    def pages(self) -> list[PageRequest]:
        place = Position(datetime.now(UTC), self.id)
        return [
            PageRequest(limit=10),
            PageRequest(limit=10, before=place, backward=True),
            PageRequest(limit=10, after=place, descending=False),
        ]


async def each(calls: Iterable[Awaitable[Any]]) -> list[Any]:
    return [await call for call in calls]


Call = Callable[[TaskService, Target], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "create": lambda service, target: service.create(MALLORY, target.request()),
    "create_many": lambda service, target: service.create_many(
        MALLORY, [target.request(), target.request(), target.request(expires_at=LONG_AGO)]
    ),
    "cancel": lambda service, target: service.cancel(MALLORY, target.id),
    "retry": lambda service, target: service.retry(MALLORY, target.id),
    "delete": lambda service, target: service.delete(MALLORY, target.id),
    "get": lambda service, target: service.get(MALLORY, target.id),
    "fetch": lambda service, target: service.fetch(MALLORY, [target.id]),
    "changed_since": lambda service, _: service.changed_since(MALLORY, LONG_AGO, 10),
    "redrive": lambda service, target: each(service.redrive(MALLORY, some, 10) for some in target.filters),
    "count_failed": lambda service, target: each(
        service.count_failed(MALLORY, some) for some in target.filters
    ),
    "count": lambda service, target: each(service.count(MALLORY, some, 10) for some in target.filters),
    "page": lambda service, target: each(
        service.page(MALLORY, some, request) for some in target.filters for request in target.pages
    ),
}


class Around:
    """What is around the store: it knows every task, as after its owner's reading, and hears of nothing."""

    def __init__(self) -> None:
        self.known: dict[UUID, Task] = {}

    async def fetch(self, task_id: UUID) -> Task | None:
        return self.known.get(task_id)

    def keep(self, task: Task) -> None:
        raise AssertionError(f"{task} was read")

    def publish(self, event: TaskEvent) -> None:
        assert event.owner == MALLORY

    def forget(self, task_id: UUID) -> None:
        raise AssertionError(f"{task_id} is gone")

    def offer(self, dispatches: Collection[Dispatch]) -> None:
        pass

    def wake(self, groups: Collection[str] = ()) -> None:
        pass


def test_every_request_for_an_owner_is_among_those_tried() -> None:
    methods = inspect.getmembers(TaskService, inspect.iscoroutinefunction)
    for_owners = {name for name, method in methods if "owner" in inspect.signature(method).parameters}
    assert {name for name in for_owners if not name.startswith("_")} == set(CALLS)


@pytest.mark.parametrize("status", STATUSES)
async def test_foreign_is_asked_for_like_missing(db: Database, status: str) -> None:
    around = Around()
    service = TaskService(db.tasks, db.control, db.listings, around, load_registry([]), around, around)
    foreign = await foreign_task(db, status)
    around.known[foreign.id] = await db.task(foreign.id)
    rows = await db.sql(THEIRS)
    for name, call in CALLS.items():
        met = await outcome(db, call, service, foreign)
        missed = await outcome(db, call, service, Target(uuid4(), "nothing"))
        assert met == missed, name
        assert await db.sql(THEIRS) == rows, name


async def foreign_task(db: Database, status: str) -> Target:
    word = "theirs"
    task = await db.create(word, tags=(word,), key=word)
    if status != "PENDING":
        lease = (await db.claim(task.id)).lease
        if status == "COMPLETED":
            await db.leases.complete(lease, {"outputData": "x"})
        elif status == "FAILED":
            await db.leases.fail(lease, Failure("PERMANENT", "no", retryable=False))
    assert (await db.task(task.id)).status == status
    return Target(UUID(str(task.id)), word)  # not the driver's kind of UUID


async def outcome(db: Database, call: Call, service: TaskService, target: Target) -> tuple[str, list[str]]:
    """What comes of it, and the statements that it takes; what it made is gone again."""
    with noted(db.engine) as made:
        try:
            result = await call(service, target)
        except Refusal as error:
            result = error
    await db.sql("DELETE FROM tasks WHERE owner = $1", MALLORY)
    return VARIES.sub("…", repr(result)), [statement for statement, _ in made]
