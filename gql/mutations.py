"""The mutations."""

from typing import Annotated

import strawberry

from gql.context import Info
from gql.inputs import CreateTaskInput
from gql.kinds import Kinds
from gql.payloads import CreateTaskPayload
from gql.user_errors import invalid
from taskql.errors import InvalidInput
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
        request = create_request(input, info.sent("input"), info.kinds)
        try:
            return CreateTaskPayload.of(await info.service.create(info.owner, request))
        except InvalidInput as error:
            return CreateTaskPayload.refused([invalid(issue, info.kinds) for issue in error.issues])


def create_request(input: CreateTaskInput, sent: JSON, kinds: Kinds) -> CreateRequest:
    return CreateRequest(
        title=input.title,
        description=input.description,
        kind=input.work.kind if input.work else DEFAULT_KIND,
        work=kinds.from_client(input.work) if input.work else None,
        idempotency_key=input.idempotency_key,
        sent=sent,
    )
