"""The mutations: what a caller can put right is answered as data, in `userErrors`."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

import strawberry

from gql.context import Info
from gql.creation import create_request, payload_of, sent_tasks
from gql.errors import BadUserInput
from gql.inputs import (
    MAX_REDRIVEN,
    CancelTaskInput,
    CreateTaskInput,
    CreateTasksInput,
    CreateWatchTokenInput,
    DeleteTaskInput,
    RedriveTasksInput,
    RetryTaskInput,
)
from gql.kinds import Kinds
from gql.payloads import (
    CancelTaskPayload,
    CreateTaskPayload,
    CreateTasksPayload,
    CreateWatchTokenPayload,
    DeleteTaskPayload,
    RedriveTasksPayload,
    RetryTaskPayload,
)
from gql.scalars import parse_task_id
from gql.user_errors import INPUT, UserError, invalid, refusal
from gql.watch_tokens import MAX_TTL_SECONDS
from gql.watched import not_found
from taskql.creation import MAX_TASKS_AT_ONCE
from taskql.errors import InvalidInput, Refusal
from taskql.limits import MEBIBYTE
from taskql.listing import TaskFilter as Filter


@strawberry.type(description="What changes something.")
class Mutation:
    @strawberry.mutation(
        description=(
            "Ask for a task. Once this answers with one, it is kept and ends COMPLETED, FAILED or CANCELLED. "
            "Watch it with the subscription `taskStatus`."
        )
    )
    async def create_task(
        self,
        info: Info,
        input: Annotated[CreateTaskInput, strawberry.argument(description="What is to be done.")],
    ) -> CreateTaskPayload:
        request = create_request(input, info.sent("input"), info.kinds)
        try:
            return payload_of(await info.service.create(info.owner, request), info.kinds)
        except InvalidInput as error:
            return payload_of(error, info.kinds)

    @strawberry.mutation(
        description=(
            f"Ask for up to {MAX_TASKS_AT_ONCE} tasks at once, each as `createTask` does. They are stored in "
            "one transaction; one that can't be accepted holds up no other. Send them as a variable, since "
            f"the size of a document is limited; the whole request may have {MEBIBYTE:,} bytes."
        )
    )
    async def create_tasks(
        self,
        info: Info,
        input: Annotated[CreateTasksInput, strawberry.argument(description="What is to be done.")],
    ) -> CreateTasksPayload:
        if (found := len(input.tasks)) > MAX_TASKS_AT_ONCE:
            reason = f"has {found} tasks; the most is {MAX_TASKS_AT_ONCE}, so split them up"
            return CreateTasksPayload(results=[], user_errors=[invalid((("tasks",), reason), info.kinds)])
        requests = [
            create_request(task, sent, info.kinds)
            for task, sent in zip(input.tasks, sent_tasks(info.sent("input")), strict=True)
        ]
        outcomes = await info.service.create_many(info.owner, requests)
        results = [
            payload_of(outcome, info.kinds, (*INPUT, "tasks", str(index)))
            for index, outcome in enumerate(outcomes)
        ]
        return CreateTasksPayload(results=results, user_errors=[])

    @strawberry.mutation(
        description=(
            "Call a task off. It is CANCELLED at once, for good and for its watchers; a handler that runs is "
            "told to stop, and what it still does is thrown away."
        )
    )
    async def cancel_task(
        self,
        info: Info,
        input: Annotated[CancelTaskInput, strawberry.argument(description="Which task.")],
    ) -> CancelTaskPayload:
        try:
            task = await info.service.cancel(info.whose, checked_id(input.id))
        except (Refusal, InvalidInput) as error:
            return CancelTaskPayload(task=None, user_errors=user_errors(error, info.kinds))
        return CancelTaskPayload(task=task, user_errors=[])

    @strawberry.mutation(
        description=(
            "Try a FAILED or CANCELLED task again, with as many attempts as its kind has. Its id stays, its "
            "version rises, and its expiresAt no longer counts. `failure.retryable` is advice: you decide."
        )
    )
    async def retry_task(
        self,
        info: Info,
        input: Annotated[RetryTaskInput, strawberry.argument(description="Which task.")],
    ) -> RetryTaskPayload:
        try:
            task = await info.service.retry(info.whose, checked_id(input.id))
        except (Refusal, InvalidInput) as error:
            return RetryTaskPayload(task=None, user_errors=user_errors(error, info.kinds))
        return RetryTaskPayload(task=task, user_errors=[])

    @strawberry.mutation(
        description=(
            "Try many FAILED tasks again, the oldest first, as after a repaired outage. Count with `dryRun` "
            "before; repeat while `matched` exceeds `redriven`."
        )
    )
    async def redrive_tasks(
        self,
        info: Info,
        input: Annotated[RedriveTasksInput, strawberry.argument(description="Which tasks.")],
    ) -> RedriveTasksPayload:
        if not 1 <= input.limit <= MAX_REDRIVEN:
            reason = f"is {input.limit}; give 1 to {MAX_REDRIVEN}"
            return RedriveTasksPayload(
                matched=0, redriven=0, user_errors=[invalid((("limit",), reason), info.kinds)]
            )
        try:
            filter = input.filter.checked() if input.filter else Filter()
            whose = input.filter.whose(info.viewer) if input.filter else info.whose
        except BadUserInput as error:
            return RedriveTasksPayload(
                matched=0, redriven=0, user_errors=[invalid((("filter",), error.message), info.kinds)]
            )
        matched = await info.service.count_failed(whose, filter)
        redriven = 0 if input.dry_run else await info.service.redrive(whose, filter, input.limit)
        return RedriveTasksPayload(matched=max(matched, redriven), redriven=redriven, user_errors=[])

    @strawberry.mutation(description="Forget a terminal task and its result. Its id is null from then on.")
    async def delete_task(
        self,
        info: Info,
        input: Annotated[DeleteTaskInput, strawberry.argument(description="Which task.")],
    ) -> DeleteTaskPayload:
        try:
            await info.service.delete(info.whose, checked_id(input.id))
        except (Refusal, InvalidInput) as error:
            return DeleteTaskPayload(deleted_id=None, user_errors=user_errors(error, info.kinds))
        return DeleteTaskPayload(deleted_id=input.id, user_errors=[])

    @strawberry.mutation(
        description=(
            "A token for somebody who may watch this task and do nothing else, like a page in a browser: it "
            "can start the subscription `taskStatus` for it, without `input`, `attempts` and `resultUrl`."
        )
    )
    async def create_watch_token(
        self,
        info: Info,
        input: Annotated[CreateWatchTokenInput, strawberry.argument(description="Which task, how long.")],
    ) -> CreateWatchTokenPayload:
        try:
            ttl = checked_ttl(input.ttl_seconds)
            task_id = checked_id(input.id)
            task = await info.service.get(info.whose, task_id)
            if task is None:
                raise not_found(task_id)
            token, ends_at = await info.context.watch_tokens.issue(task.owner, task.id, ttl)
        except (Refusal, InvalidInput) as error:
            errors = user_errors(error, info.kinds)
            return CreateWatchTokenPayload(token=None, expires_at=None, user_errors=errors)
        return CreateWatchTokenPayload(token=token, expires_at=ends_at, user_errors=[])


def checked_ttl(seconds: int) -> timedelta:
    """How long a watch token counts. Raises InvalidInput."""
    if not 1 <= seconds <= MAX_TTL_SECONDS:
        raise InvalidInput((("ttl_seconds",), f"is {seconds}; give 1 to {MAX_TTL_SECONDS:,}"))
    return timedelta(seconds=seconds)


def checked_id(text: str) -> UUID:
    """A task's id. Raises InvalidInput: in a mutation a malformed id is data, too."""
    try:
        return parse_task_id(text)
    except BadUserInput as error:
        raise InvalidInput((("id",), error.message)) from None


def user_errors(error: Refusal | InvalidInput, kinds: Kinds) -> list[UserError]:
    """What a mutation about one task was refused for."""
    if isinstance(error, InvalidInput):
        return [invalid(issue, kinds) for issue in error.issues]
    return [refusal(error)]
