"""Pages of tasks, by keyset: each costs the same, however many tasks there are and however far down it is.

Invariant: the order of a listing is the order of an index. Which index serves is decided here and not left to
the planner's guesses: that of a tag, of a terminal status, or of all tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Uuid,
    column,
    func,
    select,
    text,
    tuple_,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from taskql.adapters.postgres.changes import CREATED_SINCE, TOUCHED_SINCE
from taskql.adapters.postgres.filters import is_one_of, is_owned, matching
from taskql.adapters.postgres.replica import Reader
from taskql.adapters.postgres.tables import TASK_COLUMNS, task_from, task_tags, tasks
from taskql.lifecycle import TERMINAL
from taskql.listing import Page, PageRequest, Position, TaskFilter

MAX_CHANGED = 10_000
"""Tasks that are looked up by their ids for a listing of what has changed."""

MAX_COMPARED = 1_000
"""So far tags are counted to find the rarest of several."""

PLACE = (tasks.c.created_at, tasks.c.id)
"""A task's place in a listing."""

# The orders name the indexes: by its estimates alone the planner may read the whole table for a limit.
CHANGED_IDS = text(f"""
(SELECT id FROM tasks t WHERE {CREATED_SINCE} ORDER BY created_at, id LIMIT :limit)
UNION ALL
(SELECT id FROM tasks t WHERE {TOUCHED_SINCE} LIMIT :limit)
UNION ALL
(SELECT id FROM tasks WHERE owner = :owner AND finished_at > :moment
 ORDER BY finished_at DESC LIMIT :limit)
""").columns(column("id", Uuid))

RAREST = text(f"""
SELECT tag FROM unnest(CAST(:tags AS text[])) AS wanted(tag)
ORDER BY (SELECT count(*) FROM (
    SELECT FROM task_tags t WHERE t.tag = wanted.tag AND {is_owned("t")} LIMIT {MAX_COMPARED}
) AS counted)
LIMIT 1
""")


Columns = Sequence[ColumnElement[Any]]
Rows = Select[Any]


@dataclass(frozen=True)
class Listed:
    """The tasks that match, from where they are found in the listing's order.

    `outcomes` are the terminal statuses where there are several: each has its own order in the index.
    """

    source: FromClause
    order: Columns
    conditions: Sequence[ColumnElement[bool]]
    outcomes: Sequence[str] = ()

    def first(
        self,
        limit: int,
        columns: Columns,
        within: Sequence[ColumnElement[bool]] = (),
        *,
        descending: bool = True,
    ) -> Rows:
        """The first so many within the bounds, in the one direction or the other."""
        rows = select(*columns).select_from(self.source).where(*self.conditions, *within)
        if not self.outcomes:
            return in_order(rows, self.order, descending).limit(limit)
        parts = [
            in_order(rows.where(tasks.c.outcome == outcome), self.order, descending).limit(limit)
            for outcome in self.outcomes
        ]
        merged = union_all(*parts).subquery()
        return in_order(select(merged), (merged.c.created_at, merged.c.id), descending).limit(limit)

    def beyond(self, position: Position, descending: bool) -> ColumnElement[bool]:
        """The rows that follow `position` in that direction: a row comparison, which the index serves."""
        row, place = tuple_(*self.order), tuple_(position.created_at, position.id)
        return row < place if descending else row > place


class PostgresListings:
    """TaskListings over an engine in autocommit, and over a replica's where there is one."""

    def __init__(self, engine: AsyncEngine, replica: AsyncEngine | None = None) -> None:
        self._reader = Reader(engine, replica)

    async def page(self, owner: str | None, filter: TaskFilter, request: PageRequest) -> Page:
        return await self._reader.read(lambda opened: page(opened, owner, filter, request))

    async def count(self, owner: str | None, filter: TaskFilter, limit: int) -> int:
        return await self._reader.read(lambda opened: count(opened, owner, filter, limit))


async def page(opened: AsyncConnection, owner: str | None, filter: TaskFilter, request: PageRequest) -> Page:
    listed = await find(opened, owner, filter)
    after = listed.beyond(request.after, request.descending) if request.after else None
    before = listed.beyond(request.before, not request.descending) if request.before else None
    within = [bound for bound in (after, before) if bound is not None]
    query = listed.first(
        request.limit + 1, TASK_COLUMNS, within, descending=request.descending is not request.backward
    )
    found = [task_from(row) for row in (await opened.execute(query)).mappings()]
    more = len(found) > request.limit
    tasks = tuple(found[: request.limit])
    return Page(
        tasks[::-1] if request.backward else tasks,
        has_previous=(more and request.backward) or await cuts_off(opened, listed, after),
        has_next=(more and not request.backward) or await cuts_off(opened, listed, before),
    )


async def count(opened: AsyncConnection, owner: str | None, filter: TaskFilter, limit: int) -> int:
    listed = await find(opened, owner, filter)
    some = listed.first(limit, PLACE).subquery()
    return int(await opened.scalar(select(func.count()).select_from(some)) or 0)


async def cuts_off(opened: AsyncConnection, listed: Listed, bound: ColumnElement[bool] | None) -> bool:
    """Whether the bound, where there is one, leaves out any of what matches."""
    if bound is None:
        return False
    return (await opened.execute(listed.first(1, PLACE, [~bound]))).first() is not None


async def find(opened: AsyncConnection, owner: str | None, filter: TaskFilter) -> Listed:
    """Where the listing is found: by its rarest tag, by what has changed, or by its order alone."""
    conditions = matching(owner, filter)
    if filter.updated_after is not None and owner is not None:
        values = {"owner": owner, "moment": filter.updated_after, "limit": MAX_CHANGED + 1}
        ids = (await opened.execute(CHANGED_IDS, values)).scalars().all()
        if len(ids) <= MAX_CHANGED:
            # In a listing's order they may all stand beyond millions of others, which the planner can't know.
            conditions = [*matching(owner, replace(filter, updated_after=None)), is_one_of(ids)]
            return Listed(tasks, PLACE, conditions)
    if filter.tags:
        return await by_tag(opened, owner, filter, conditions)
    terminal = filter.status is not None and TERMINAL.issuperset(filter.status)
    several = filter.status if filter.status and terminal and len(set(filter.status)) > 1 else ()
    return Listed(tasks, PLACE, conditions, [status.value for status in dict.fromkeys(several)])


async def by_tag(
    opened: AsyncConnection, owner: str | None, filter: TaskFilter, conditions: Sequence[ColumnElement[bool]]
) -> Listed:
    assert filter.tags
    tags = list(dict.fromkeys(filter.tags))
    if len(tags) > 1:
        tags = [(await opened.execute(RAREST, {"tags": tags, "owner": owner})).scalar_one()]
    tagged = [task_tags.c.tag == tags[0], *([] if owner is None else [task_tags.c.owner == owner])]
    source = task_tags.join(tasks, tasks.c.id == task_tags.c.task_id)
    return Listed(source, (task_tags.c.created_at, task_tags.c.task_id), [*conditions, *tagged])


def in_order(rows: Rows, order: Columns, descending: bool) -> Rows:
    return rows.order_by(*(each.desc() if descending else each.asc() for each in order))
