"""Tasks stored and looked up by the group: what is asked for one at a time, from many sides at once.

Invariant: to whoever asks, it is as if they had asked alone.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres.statement import Statement, hidden
from taskql.adapters.postgres.tables import TASK_SQL, Row, task_from
from taskql.adapters.postgres.tasks import PostgresTasks
from taskql.errors import Unavailable
from taskql.grouping import Grouped
from taskql.ports import Creation, NotStored
from taskql.task import NewTask, Task

# OFFSET makes it look up each row; a plain join it may perform by reading the whole table.
FETCH = Statement(f"""
SELECT wanted.place, {TASK_SQL}
FROM unnest({hidden("ids", "uuid[]")}, CAST(:owners AS text[])) WITH ORDINALITY AS wanted(id, owner, place)
CROSS JOIN LATERAL (SELECT * FROM tasks WHERE tasks.id = wanted.id OFFSET 0) t
WHERE wanted.owner IS NULL OR t.owner = wanted.owner
""")

AT_ONCE = 2
"""So that one connection that hangs holds up no more than the group which it serves."""
LARGEST = 64
"""Inputs have up to 256 KiB: so many are read in one step of the loop."""

Wanted = tuple[str | None, UUID]
"""A task, and whose it has to be; None for anybody's."""


class GroupedTasks(PostgresTasks):
    """TaskStore, with group commit."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self._creations: Grouped[NewTask, Creation] = Grouped(
            self._create_group, at_once=AT_ONCE, largest=LARGEST
        )
        self._look_ups: Grouped[Wanted, Task | None] = Grouped(
            self._look_up, at_once=AT_ONCE, largest=LARGEST
        )

    async def create(self, tasks: Sequence[NewTask]) -> list[Creation]:
        """Several at once are one transaction of their own."""
        return await super().create(tasks) if len(tasks) != 1 else [await self._creations(tasks[0])]

    async def fetch(self, owner: str | None, ids: Collection[UUID]) -> dict[UUID, Task]:
        if len(ids) != 1:
            return await super().fetch(owner, ids)
        [id] = ids
        task = await self._look_ups((owner, id))
        return {} if task is None else {id: task}

    async def _create_group(self, tasks: Sequence[NewTask]) -> list[Creation | Exception]:
        """An outage is told to those of whose tasks nothing is known; by asking again they find out."""
        creations: dict[int, Creation] = {}
        try:
            await self._create_all(tasks, creations)
        except Unavailable as error:
            creations = dict.fromkeys(range(len(tasks)), NotStored(error)) | creations
        outcomes = [creations[index] for index in range(len(tasks))]
        return [each.error if isinstance(each, NotStored) else each for each in outcomes]

    async def _look_up(self, wanted: Sequence[Wanted]) -> list[Task | Exception | None]:
        distinct = list(dict.fromkeys(wanted))  # many may ask for one
        rows = await FETCH.rows(
            self._engine, ids=[id for _, id in distinct], owners=[owner for owner, _ in distinct]
        )
        found = {distinct[row["place"] - 1]: read(row) for row in rows}
        return [found.get(each) for each in wanted]


def read(row: Row) -> Task | Exception:
    """A row that can't be read, a newer version's perhaps, is its asker's trouble alone."""
    try:
        return task_from(row)
    except Exception as error:
        return error
