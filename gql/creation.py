"""What createTask and createTasks ask for and get: a client's words as the service's request, and back."""

from collections.abc import Sequence

from gql.inputs import CreateTaskInput
from gql.kinds import Kinds
from gql.payloads import CreateTaskPayload
from gql.user_errors import INPUT, idempotency_conflict, invalid, not_stored
from taskql.creation import DEFAULT_KIND, CreateRequest
from taskql.errors import InvalidInput
from taskql.ports import Conflict, Created, Creation, Existing, NotStored
from taskql.task import JSON


def create_request(input: CreateTaskInput, sent: JSON, kinds: Kinds) -> CreateRequest:
    return CreateRequest(
        title=input.title,
        description=input.description,
        kind=input.work.kind if input.work else DEFAULT_KIND,
        work=kinds.from_client(input.work) if input.work else None,
        priority=input.priority,
        run_at=input.run_at,
        expires_at=input.expires_at,
        idempotency_key=input.idempotency_key,
        ordering_key=input.ordering_key,
        tags=input.tags or (),
        sent=sent,
    )


def sent_tasks(sent: JSON) -> list[JSON]:
    """Each task of a CreateTasksInput as it was sent. GraphQL takes one task for a list of one."""
    tasks = sent["tasks"]
    return tasks if isinstance(tasks, list) else [tasks]


def payload_of(
    outcome: Creation | InvalidInput, kinds: Kinds, below: Sequence[str] = INPUT
) -> CreateTaskPayload:
    """The answer to the request for one task, which stands at `below` in what the client sent."""
    match outcome:
        case Created(task):
            return CreateTaskPayload.stored(task, created=True)
        case Existing(task):
            return CreateTaskPayload.stored(task, created=False)
        case Conflict(task_id):
            return CreateTaskPayload.refused(idempotency_conflict(task_id, below))
        case NotStored(error):
            return CreateTaskPayload.refused(not_stored(error, below))
        case InvalidInput():
            return CreateTaskPayload.refused(*(invalid(issue, kinds, below) for issue in outcome.issues))
