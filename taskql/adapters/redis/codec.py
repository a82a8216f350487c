"""How an event travels: the JSON of all fields of TaskEvent, on a channel of its task."""

from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from taskql.task import TaskEvent

_EVENT: TypeAdapter[TaskEvent] = TypeAdapter(TaskEvent)


class ForeignEvent(ValueError):
    """What came over the channel is not one of our events."""


def channel(task_id: UUID) -> str:
    return f"taskql:task:{task_id}"


def encode(event: TaskEvent) -> bytes:
    """The event alone, also where it is a whole Task: title, input and owner never travel."""
    return _EVENT.dump_json(event)


def decode(data: bytes) -> TaskEvent:
    try:
        return _EVENT.validate_json(data)
    except ValidationError as error:
        raise ForeignEvent(f"{error.error_count()} mistakes in an event of {len(data)} bytes") from None
