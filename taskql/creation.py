"""A client's or a handler's wish for a task, and all that can be wrong with it. Pure."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from taskql.errors import InputIssue, InvalidInput
from taskql.marks import current
from taskql.queues import TaskPriority
from taskql.registry import Registry
from taskql.storable import UNSTORABLE_TEXT, is_storable, json_size, unstorable
from taskql.task import JSON, NewTask
from taskql.value import value_class

MAX_TITLE_CHARS = 255
MAX_DESCRIPTION_CHARS = 10_000
MAX_IDEMPOTENCY_KEY_CHARS = 255
MAX_ORDERING_KEY_CHARS = 128
MAX_TAGS = 10
MAX_TAG_CHARS = 64
MAX_TASKS_AT_ONCE = 500
MAX_INPUT_BYTES = 256 * 1024
DEFAULT_KIND = "process"


@value_class(kw_only=True)
class CreateRequest:
    """A client's wish for a task.

    `kind` and `work` name the handler and its input (by the model's own field names); `sent` is the request
    as the client sent it, before any default: what an idempotency key is held against. A handler's wish names
    its `id`.
    """

    title: str
    description: str | None = None
    kind: str = DEFAULT_KIND
    work: JSON = None
    priority: TaskPriority = TaskPriority.NORMAL
    run_at: datetime | None = None
    expires_at: datetime | None = None
    idempotency_key: str | None = None
    ordering_key: str | None = None
    tags: Sequence[str] = ()
    sent: JSON = None
    id: UUID | None = None


def checked(owner: str, request: CreateRequest, registry: Registry) -> NewTask:
    """The request as a task to be stored, every field checked but for its times."""
    issues = field_issues(request)
    handler = registry[request.kind]
    stored: JSON = {}
    try:
        stored = handler.stored(request.work or {})
        issues += json_issues(("work", request.kind), stored)
    except InvalidInput as error:
        issues += [(("work", request.kind, *path), reason) for path, reason in error.issues]
    if issues:
        raise InvalidInput(*issues)
    return NewTask(
        owner=owner,
        kind=request.kind,
        title=request.title.strip(),
        description=request.description,
        input=stored,
        max_attempts=handler.max_attempts,
        priority=request.priority,
        ordering_key=request.ordering_key,
        tags=tuple(dict.fromkeys(request.tags)),
        run_at=request.run_at,
        expires_at=request.expires_at,
        idempotency_key=request.idempotency_key,
        request_hash=request_hash(request.sent) if request.idempotency_key is not None else None,
        id=request.id,
        traceparent=current().traceparent,
    )


def field_issues(request: CreateRequest) -> list[InputIssue]:
    """What is wrong with a request, whatever its kind: all but its input and its times."""
    issues = text_issues("title", request.title.strip(), 1, MAX_TITLE_CHARS)
    if request.description is not None:
        issues += text_issues("description", request.description, 0, MAX_DESCRIPTION_CHARS)
    if request.idempotency_key is not None:
        issues += text_issues("idempotency_key", request.idempotency_key, 1, MAX_IDEMPOTENCY_KEY_CHARS)
    if request.ordering_key is not None:
        issues += text_issues("ordering_key", request.ordering_key, 1, MAX_ORDERING_KEY_CHARS)
        if request.priority is not TaskPriority.NORMAL:
            issues.append((("priority",), f"is {request.priority}; with an orderingKey it must be NORMAL"))
    return issues + tag_issues(request.tags)


def text_issues(field: str, text: str, least: int, most: int) -> list[InputIssue]:
    """What is wrong with a text: its length in characters, or characters that can't be stored."""
    if not is_storable(text):
        return [((field,), UNSTORABLE_TEXT)]
    if len(text) < least:
        return [((field,), "is blank; give at least one visible character")]
    if len(text) > most:
        return [((field,), f"has {len(text)} characters; the most is {most}")]
    return []


def tag_issues(tags: Sequence[str]) -> list[InputIssue]:
    if len(tags) > MAX_TAGS:
        return [(("tags",), f"has {len(tags)} tags; the most is {MAX_TAGS}")]
    return [
        (("tags", str(index)), reason)
        for index, tag in enumerate(tags)
        for _, reason in text_issues("tags", tag, 1, MAX_TAG_CHARS)
    ]


def time_issues(request: CreateRequest, now: datetime) -> list[InputIssue]:
    """What is wrong with the times of a request. A `run_at` that has passed means at once."""
    if request.expires_at is None:
        return []
    if request.expires_at <= now:
        return [(("expires_at",), "has passed already; give a moment that is still to come")]
    if request.run_at is not None and request.expires_at <= request.run_at:
        return [(("expires_at",), "is no later than runAt, so the task could never start")]
    return []


def json_issues(path: tuple[str, ...], value: JSON) -> list[InputIssue]:
    """What is wrong with a kind's input as JSON: what can't be stored, or its size."""
    if found := list(unstorable(value, path)):
        return found
    if (size := json_size(value)) > MAX_INPUT_BYTES:
        return [(path, f"has {size} bytes as JSON; the most is {MAX_INPUT_BYTES}")]
    return []


def request_hash(sent: JSON) -> bytes:
    """A digest that is the same for requests that mean the same: the order of keys and 1 or 1.0 don't count.

    Nor does a field of the request itself that is null; within a kind's input null may differ from left out.
    """
    given = {key: value for key, value in (sent or {}).items() if value is not None}
    return hashlib.sha256(json.dumps(canonical(given), sort_keys=True).encode()).digest()


def canonical(value: JSON) -> JSON:
    match value:
        case dict():
            return {key: canonical(item) for key, item in value.items()}
        case list() | tuple():
            return [canonical(item) for item in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
