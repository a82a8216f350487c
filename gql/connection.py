"""Listings: a Relay connection over keyset pages, whose size and place cost nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import cached_property

import strawberry

from gql.cursors import decode_cursor, encode_cursor, position_of
from gql.enums import TaskOrder
from gql.errors import BadUserInput
from gql.types import Task
from taskql import task as values
from taskql.listing import Page, PageRequest

MAX_PAGE_SIZE = 100
DEFAULT_PAGE_SIZE = 20
MAX_EXACT_COUNT = 10_000


def page_request(
    order: TaskOrder, first: int | None, after: str | None, last: int | None, before: str | None
) -> PageRequest:
    """The page that a client asks for. Raises BadUserInput, naming the argument."""
    if first is not None and last is not None:
        raise BadUserInput("`first` and `last` are both given; give one of them.")
    for argument, size in (("first", first), ("last", last)):
        if size is not None and not 1 <= size <= MAX_PAGE_SIZE:
            raise BadUserInput(f"`{argument}` is {size}; give 1 to {MAX_PAGE_SIZE}.")
    return PageRequest(
        limit=first or last or DEFAULT_PAGE_SIZE,
        descending=order is TaskOrder.CREATED_AT_DESC,
        backward=last is not None,
        after=None if after is None else decode_cursor("after", after),
        before=None if before is None else decode_cursor("before", before),
    )


def cursor_of(task: values.Task) -> str:
    return encode_cursor(position_of(task))


@strawberry.type(description="A task in a listing, with its place there.")
class TaskEdge:
    cursor: str = strawberry.field(description="Pass it as `after` or `before` to go on from here. Opaque.")
    node: values.Task = strawberry.field(graphql_type=Task, description="What stands at that place.")


@strawberry.type(description="Where a page lies in its listing.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether tasks follow: ask with `after: endCursor`.")
    has_previous_page: bool = strawberry.field(
        description="Whether tasks precede: ask with `last` and `before: startCursor`."
    )
    start_cursor: str | None = strawberry.field(
        description="The first task's cursor; null for an empty page."
    )
    end_cursor: str | None = strawberry.field(description="The last task's cursor; null for an empty page.")


@strawberry.type(description="A page of tasks, and how many match in all.")
class TaskConnection:
    page: strawberry.Private[Page]
    count: strawberry.Private[Callable[[int], Awaitable[int]]]
    """Counts what matches, no further than its argument; called only for clients who want to know."""
    moment: strawberry.Private[datetime | None] = None
    """From before the page was read; only for clients who want to know."""

    @strawberry.field(description="The tasks in listing order, each with its cursor.")
    def edges(self) -> list[TaskEdge]:
        return [TaskEdge(cursor=cursor_of(task), node=task) for task in self.page.tasks]

    @strawberry.field(graphql_type=list[Task], description="The tasks in listing order, without cursors.")
    def nodes(self) -> list[values.Task]:
        return list(self.page.tasks)

    @strawberry.field(description="Where to go on.")
    def page_info(self) -> PageInfo:
        cursors = [cursor_of(task) for task in self.page.tasks[:1] + self.page.tasks[-1:]]
        return PageInfo(
            has_next_page=self.page.has_next,
            has_previous_page=self.page.has_previous,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        )

    @strawberry.field(
        description=(
            "Nothing that is stored after this page was read has an earlier `updatedAt`. To learn later what "
            "has changed meanwhile, ask again with this moment as `filter.updatedAfter`, page by page, and "
            "keep the `asOf` of the first page for the time after that. What changed in the last second "
            "may come twice: `version` tells."
        )
    )
    def as_of(self) -> datetime:
        assert self.moment is not None, "asked for without being selected"
        return self.moment

    @strawberry.field(
        description=f"How many tasks match the filter on all pages; counting stops at {MAX_EXACT_COUNT:,}."
    )
    async def total_count(self) -> int:
        return min(await self._counted, MAX_EXACT_COUNT)

    @strawberry.field(description="False if there are more than `totalCount`.")
    async def total_count_is_exact(self) -> bool:
        return await self._counted <= MAX_EXACT_COUNT

    @cached_property
    def _counted(self) -> "asyncio.Future[int]":
        """One count for both fields, which are resolved side by side."""
        return asyncio.ensure_future(self.count(MAX_EXACT_COUNT + 1))
