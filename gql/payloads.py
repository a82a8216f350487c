"""What mutations answer with."""

from datetime import datetime
from typing import Self

import strawberry

from gql.types import Task
from gql.user_errors import UserError
from taskql import task as values


@strawberry.type(description="What became of a createTask.")
class CreateTaskPayload:
    task: values.Task | None = strawberry.field(
        graphql_type=Task | None,
        description="The task as it is stored; null if there are userErrors.",
    )
    created: bool = strawberry.field(
        description="Whether this request made it; false for a repeated one, which gets the first one's task."
    )
    user_errors: list[UserError] = strawberry.field(description="Empty if all went well.")

    @classmethod
    def stored(cls, task: values.Task, *, created: bool) -> Self:
        return cls(task=task, created=created, user_errors=[])

    @classmethod
    def refused(cls, *errors: UserError) -> Self:
        return cls(task=None, created=False, user_errors=list(errors))


@strawberry.type(description="What became of a createTasks.")
class CreateTasksPayload:
    results: list[CreateTaskPayload] = strawberry.field(
        description="What became of each task, in the order given; empty if there are userErrors here."
    )
    user_errors: list[UserError] = strawberry.field(
        description=(
            "What kept all of them from being stored. What is wrong with one task is in its own result, "
            'with a `field` like `["input", "tasks", "3", "title"]`.'
        )
    )


@strawberry.type(description="What became of a cancelTask.")
class CancelTaskPayload:
    task: values.Task | None = strawberry.field(
        graphql_type=Task | None, description="The cancelled task; null if there are userErrors."
    )
    user_errors: list[UserError] = strawberry.field(description="Empty if all went well.")


@strawberry.type(description="What became of a retryTask.")
class RetryTaskPayload:
    task: values.Task | None = strawberry.field(
        graphql_type=Task | None, description="The task, PENDING again; null if there are userErrors."
    )
    user_errors: list[UserError] = strawberry.field(description="Empty if all went well.")


@strawberry.type(description="What became of a deleteTask.")
class DeleteTaskPayload:
    deleted_id: strawberry.ID | None = strawberry.field(
        description="The id that means nothing any more; null if there are userErrors."
    )
    user_errors: list[UserError] = strawberry.field(description="Empty if all went well.")


@strawberry.type(description="What became of a createWatchToken.")
class CreateWatchTokenPayload:
    token: str | None = strawberry.field(
        description="For `Authorization: Bearer …`, or connection_init; null if there are userErrors."
    )
    expires_at: datetime | None = strawberry.field(
        description="No watch begins with it from then on; null if there are userErrors."
    )
    user_errors: list[UserError] = strawberry.field(description="Empty if all went well.")


@strawberry.type(description="What became of a redriveTasks.")
class RedriveTasksPayload:
    matched: int = strawberry.field(description="How many FAILED tasks match; counting stops at 10,000.")
    redriven: int = strawberry.field(description="How many of them are PENDING again; 0 in a dry run.")
    user_errors: list[UserError] = strawberry.field(description="Empty if all went well.")
