"""How tasks travel: the JSON of an event's fields, and beside it, for a snapshot, that of a task's others."""

import hashlib
from functools import lru_cache
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from taskql.task import EVENT_FIELDS, Task, TaskEvent

# Used through `serializer` and `validator`: the adapters' own methods take a third longer.
_EVENT: TypeAdapter[TaskEvent] = TypeAdapter(TaskEvent)
_TASK: TypeAdapter[Task] = TypeAdapter(Task)
_CHANGING = set(EVENT_FIELDS)


class ForeignEvent(ValueError):
    """What came over the channel, or lay in the cache, is not one of ours."""


def channel(task_id: UUID) -> str:
    return f"taskql:task:{task_id}"


@lru_cache(maxsize=1024)
def owner_channel(owner: str) -> str:
    """Of all the owner's tasks. A digest, since an owner may be any text, and is nobody else's business."""
    return f"taskql:owner:{hashlib.sha256(owner.encode()).hexdigest()}"


def snapshot_key(task_id: UUID) -> str:
    return f"taskql:snapshot:{task_id}"


def encode(event: TaskEvent) -> bytes:
    """The event alone, also where it is a whole Task: title and input never travel."""
    return _EVENT.serializer.to_json(event)


def encode_rest(task: Task) -> bytes:
    """All of a task that its events don't hold, which never changes."""
    return _TASK.serializer.to_json(task, exclude=_CHANGING)


def decode(data: bytes) -> TaskEvent:
    try:
        event: TaskEvent = _EVENT.validator.validate_json(data)
    except ValidationError as error:
        raise ForeignEvent(f"{error.error_count()} mistakes in an event of {len(data)} bytes") from None
    return event


def decode_task(event: bytes, rest: bytes) -> Task:
    """The task whose event and whose `rest` these are."""
    data = event[:-1] + b"," + rest[1:]
    try:
        task: Task = _TASK.validator.validate_json(data)
    except ValidationError as error:
        raise ForeignEvent(f"{error.error_count()} mistakes in a snapshot of {len(data)} bytes") from None
    return task
