"""What mutations answer with. What a caller can expect to go wrong is data: `userErrors`."""

from collections.abc import Sequence
from typing import Self

import strawberry

from gql.enums import UserErrorCode
from gql.types import Task
from taskql import task as values


@strawberry.type(description="Something about the input that the caller can put right.")
class UserError:
    code: UserErrorCode = strawberry.field(description="What kind of problem it is, for programs.")
    message: str = strawberry.field(description="The problem and what to do about it, for people.")
    field: list[str] | None = strawberry.field(
        description=(
            'The path from the argument to the place, list indexes included: `["input", "work", "compute", '
            '"numbers", "3"]`. Null if no single place is at fault.'
        )
    )


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
    def of(cls, task: values.Task, *, created: bool) -> Self:
        return cls(task=task, created=created, user_errors=[])

    @classmethod
    def refused(cls, errors: Sequence[UserError]) -> Self:
        return cls(task=None, created=False, user_errors=list(errors))
