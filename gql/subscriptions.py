"""The subscriptions: thin, the hub does the work."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import strawberry

from gql.context import Info
from gql.scalars import parse_task_id
from gql.types import Task
from taskql import task as values


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
        try:
            states = info.context.hub.watch(info.owner, parse_task_id(id), after_version)
            async with aclosing(states):
                async for task in states:
                    yield task
        except Exception as error:
            # graphql-core locates what resolvers raise, but not what breaks a stream.
            raise info.located(error) from error
