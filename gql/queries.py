"""The queries."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import strawberry

from gql.connection import TaskConnection, page_request
from gql.context import Info
from gql.dead_letters import DeadLetterConnection, page_of_letters
from gql.enums import TaskOrder
from gql.errors import BadUserInput
from gql.inputs import TaskFilter
from gql.queues import Queue
from gql.scalars import parse_task_id
from gql.types import Kind, Node, Task
from gql.viewer import Scope
from taskql import task as values
from taskql.listing import TaskFilter as Filter
from taskql.ports import DeadLetter as DeadLetterValue
from taskql.ports import QueueFigures

MAX_NODES = 100

TaskId = Annotated[
    strawberry.ID, strawberry.argument(description="The task's id, from `createTask` or `tasks`.")
]


@strawberry.type(description="What can be asked without changing anything.")
class Query:
    @strawberry.field(
        graphql_type=Task | None, description="One task; null if there is none, or it is somebody else's."
    )
    async def task(self, info: Info, id: TaskId) -> values.Task | None:
        return await fetch_one(info, id)

    @strawberry.field(
        description=(
            "Your tasks, a page at a time. Pages stay true while tasks come and go: a cursor names a place, "
            "not a number. Without `first` and `last`: the first 20."
        )
    )
    async def tasks(
        self,
        info: Info,
        filter: Annotated[
            TaskFilter | None, strawberry.argument(description="Which tasks; left out: all of yours.")
        ] = None,
        order_by: Annotated[
            TaskOrder, strawberry.argument(description="What comes first. Cursors fit either order.")
        ] = TaskOrder.CREATED_AT_DESC,
        first: Annotated[
            int | None, strawberry.argument(description="So many from the start, 1 to 100. Not with `last`.")
        ] = None,
        after: Annotated[
            str | None, strawberry.argument(description="Only what follows this cursor in the listing.")
        ] = None,
        last: Annotated[
            int | None, strawberry.argument(description="So many from the end, 1 to 100. Not with `first`.")
        ] = None,
        before: Annotated[
            str | None, strawberry.argument(description="Only what precedes this cursor in the listing.")
        ] = None,
    ) -> TaskConnection:
        request = page_request(order_by, first, after, last, before)
        checked = filter.checked() if filter else Filter()
        whose = filter.whose(info.viewer) if filter else info.whose
        # Before the page: a change that the page misses is dated later.
        as_of = await info.service.as_of() if info.selects("asOf") else None
        page = await info.service.page(whose, checked, request)
        return TaskConnection(page=page, count=partial(info.service.count, whose, checked), moment=as_of)

    @strawberry.field(
        graphql_type=Node | None,
        description="Whatever has this id; null if there is none, or it is not yours.",
    )
    async def node(self, info: Info, id: TaskId) -> values.Task | DeadLetterValue | None:
        [found] = await fetch_nodes(info, [id])
        return found

    @strawberry.field(
        graphql_type=list[Node | None],
        description=f"What has these ids, in their order; null for what is missing. At most {MAX_NODES}.",
    )
    async def nodes(
        self,
        info: Info,
        ids: Annotated[
            list[strawberry.ID], strawberry.argument(description="In any order, repeats allowed.")
        ],
    ) -> list[values.Task | DeadLetterValue | None]:
        if len(ids) > MAX_NODES:
            raise BadUserInput(f"`ids` has {len(ids)} ids; give at most {MAX_NODES}.")
        return await fetch_nodes(info, ids)

    @strawberry.field(
        description=(
            "What failed for good, and messages on the queues that were not TaskQL's own, newest first. For "
            "operators: of every owner."
        )
    )
    async def dead_letters(
        self,
        info: Info,
        first: Annotated[
            int | None, strawberry.argument(description="So many, 1 to 100; left out: 20.")
        ] = None,
        after: Annotated[
            str | None, strawberry.argument(description="Only what follows this cursor in the listing.")
        ] = None,
    ) -> DeadLetterConnection:
        return await page_of_letters(info.dead_letters, first, after)

    @strawberry.field(
        graphql_type=list[Queue], description="How each of the queues fares at present. For operators."
    )
    async def queues(self, info: Info) -> list[QueueFigures]:
        return await info.context.queues.now()

    @strawberry.field(description="All that you can put into `createTask(input: {work: …})` here.")
    def kinds(self, info: Info) -> list[Kind]:
        return info.kinds.listing


async def fetch_nodes(info: Info, ids: Sequence[str]) -> list[values.Task | DeadLetterValue | None]:
    """What has these ids: tasks first, and for administrators dead letters among what is no task."""
    wanted = [parse_task_id(id) for id in ids]
    tasks = await info.service.fetch(info.whose, wanted)
    may_see_letters = info.viewer.may(Scope.ADMIN)
    others = [node_id for node_id in wanted if may_see_letters and node_id not in tasks]
    letters = await info.dead_letters.fetch(others) if others else {}
    return [tasks.get(node_id) or letters.get(node_id) for node_id in wanted]


async def fetch_one(info: Info, id: str) -> values.Task | None:
    return await info.service.get(info.whose, parse_task_id(id))
