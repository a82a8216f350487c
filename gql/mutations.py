"""The mutations."""

from typing import Annotated

import strawberry
from strawberry.utils.str_converters import to_camel_case

from gql.context import Info
from gql.enums import UserErrorCode
from gql.inputs import CreateTaskInput
from gql.kinds import Kinds
from gql.payloads import CreateTaskPayload, UserError
from taskql.errors import InputIssue, InvalidInput
from taskql.ports import Conflict, Created, Existing
from taskql.service import DEFAULT_KIND, CreateRequest
from taskql.task import JSON


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
        try:
            request = create_request(input, info.sent("input"), info.kinds)
            creation = await info.service.create(info.owner, request)
        except InvalidInput as error:
            return CreateTaskPayload.refused([invalid(issue, info.kinds) for issue in error.issues])
        match creation:
            case Created(task):
                return CreateTaskPayload.of(task, created=True)
            case Existing(task):
                return CreateTaskPayload.of(task, created=False)
            case Conflict(task_id):
                return CreateTaskPayload.refused(
                    [
                        UserError(
                            code=UserErrorCode.IDEMPOTENCY_CONFLICT,
                            message=(
                                f"This idempotency key was used before for task {task_id}, with a different input. "
                                "Send the same input again, or take a new key."
                            ),
                            field=["input", "idempotencyKey"],
                        )
                    ]
                )


def create_request(input: CreateTaskInput, sent: JSON, kinds: Kinds) -> CreateRequest:
    return CreateRequest(
        title=input.title,
        description=input.description,
        kind=input.work.kind if input.work else DEFAULT_KIND,
        work=kinds.from_client(input.work) if input.work else None,
        idempotency_key=input.idempotency_key,
        sent=sent,
    )


def invalid(issue: InputIssue, kinds: Kinds) -> UserError:
    """A place in the request that can't be accepted, as clients know the place."""
    path, reason = issue
    field = ("work", *kinds.client_path(path[1:])) if path[0] == "work" else tuple(map(to_camel_case, path))
    return UserError(code=UserErrorCode.INVALID, message=sentence(field[-1], reason), field=["input", *field])


def sentence(field: str, reason: str) -> str:
    """A reason in words as a sentence.

    Models' own validators speak for themselves, behind pydantic's "Value error, "; ours begin with a verb and
    want the field before them.
    """
    told = reason.removeprefix("Value error, ")
    if told == reason and reason[:1].islower():
        told = f"The field '{field}' {reason}"
    return told[:1].upper() + told[1:] + ("" if told.endswith((".", "!", "?")) else ".")
