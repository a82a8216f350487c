"""What tests do with tasks that run in order."""

from uuid import UUID

from taskql.task import Task
from tests.contract.conftest import Database


async def ordered(db: Database, count: int, key: str = "k") -> list[Task]:
    return [await db.create(f"task {number}", ordering_key=key) for number in range(count)]


async def sendable(db: Database) -> list[UUID]:
    """What a sweep would send now."""
    await db.dispatch.unblock()
    return [dispatch.task_id for dispatch in await db.dispatch.reserve_due(100)]


async def run(db: Database, task: Task) -> None:
    await db.leases.complete((await db.claim(task.id)).lease, {})


async def numbers(db: Database, *tasks: Task) -> list[int]:
    """The tasks' places; a dispatch row has its task's."""
    found = []
    for task in tasks:
        query = (
            "SELECT t.ordering_number, d.ordering_number FROM tasks t "
            "LEFT JOIN dispatch d ON d.task_id = t.id WHERE t.id = $1"
        )
        [(number, dispatched)] = await db.sql(query, task.id)
        assert dispatched in (number, None)
        found.append(number)
    return found
