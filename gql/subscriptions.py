"""The subscriptions: thin, the hub does the work."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Annotated, TypeVar

import strawberry

from gql.context import Info
from gql.inputs import TaskFilter
from gql.permissions import ended
from gql.queues import MAX_EVERY_SECONDS, Queue
from gql.scalars import parse_task_id
from gql.types import Task
from gql.viewer import Viewer
from gql.watched import not_found
from taskql import task as values
from taskql.listing import TaskFilter as Filter
from taskql.ports import QueueFigures

T = TypeVar("T")


@strawberry.type(description="What tells of changes as they happen.")
class Subscription:
    @strawberry.subscription(
        graphql_type=Task,
        description=(
            "A task as it is now, then as it becomes, until it is terminal; then the stream completes. "
            "Versions only rise. A slow client may skip some, never the last. A missing task, or somebody "
            "else's, is one result with the error NOT_FOUND."
        ),
    )
    async def task_status(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The task's id, from `createTask`.")],
        after_version: Annotated[
            int | None,
            strawberry.argument(
                description=(
                    "The version that you have already: the current state is then sent only if it is newer. "
                    "Give it when you subscribe again after a lost connection."
                )
            ),
        ] = None,
    ) -> AsyncGenerator[values.Task, None]:
        with located(info):
            task_id = parse_task_id(id)
            if not info.viewer.may_watch(task_id):
                raise not_found(task_id)
            states = info.context.hub.watch(info.whose, task_id, after_version)
            async with aclosing(lasting(info.viewer, states)) as lasting_states:
                async for task in lasting_states:
                    yield task

    @strawberry.subscription(
        graphql_type=Task,
        description=(
            "Your tasks as they change, new ones included, from subscribing on; never completes. Each comes "
            "as it is after a change, if that matches the filter; its versions only rise. A slow client may "
            "skip some, never a task's last. Deleted tasks are not told of. After a lost connection, "
            "subscribe again, then ask `tasks` for what has changed meanwhile (`TaskConnection.asOf`)."
        ),
    )
    async def task_updates(
        self,
        info: Info,
        filter: Annotated[
            TaskFilter | None, strawberry.argument(description="Which states to tell of; left out: all.")
        ] = None,
    ) -> AsyncGenerator[values.Task, None]:
        with located(info):
            owner = (filter.whose(info.viewer) if filter and filter.owner is not None else None) or info.owner
            updates = info.context.feeds.follow(owner, filter.checked() if filter else Filter())
            async with aclosing(lasting(info.viewer, updates)) as lasting_updates:
                async for task in lasting_updates:
                    yield task

    @strawberry.subscription(
        graphql_type=list[Queue],
        description="How the queues fare: at once, and then again and again, changed or not. For operators.",
    )
    async def queues(
        self,
        info: Info,
        every_seconds: Annotated[
            int, strawberry.argument(description=f"How often, 1 to {MAX_EVERY_SECONDS} seconds apart.")
        ] = 2,
    ) -> AsyncGenerator[list[QueueFigures], None]:
        with located(info):
            polls = info.context.queues.follow(every_seconds)
            async with aclosing(lasting(info.viewer, polls)) as lasting_polls:
                async for figures in lasting_polls:
                    yield figures


async def lasting(viewer: Viewer, values: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """The values until the viewer's token has ended. Raises Unauthenticated then."""
    async with aclosing(values):
        while True:
            until_end = asyncio.timeout(viewer.lasts(time.time()))
            try:
                async with until_end:
                    value = await anext(values)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if until_end.expired():
                    raise ended() from None
                raise
            yield value


@contextmanager
def located(info: Info) -> Iterator[None]:
    """graphql-core locates what resolvers raise, but not what breaks a stream."""
    try:
        yield
    except Exception as error:
        raise info.located(error) from error
