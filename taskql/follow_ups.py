"""The tasks that an attempt wants to follow on it: checked as they are asked for, stored with its outcome.

Invariant: nothing is stored here, and nobody sees what is collected before the handler has returned.
"""

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from threading import Lock
from uuid import UUID

from pydantic_core import PydanticSerializationError, to_jsonable_python

from taskql.context import FollowUp
from taskql.creation import CreateRequest, checked, field_issues, json_issues, time_issues
from taskql.errors import InputIssue, InvalidInput
from taskql.handler import KIND_NAME, declared
from taskql.queues import TaskPriority
from taskql.registry import Registry
from taskql.retry import BadFollowUp
from taskql.storable import UNSTORABLE_TEXT
from taskql.task import JSON, NewTask

MAX_FOLLOW_UPS = 100


class FollowUps:
    """What a handler asks for by `create_task`, in order. May be used from several threads."""

    def __init__(self, owner: str, registry: Registry) -> None:
        self._owner = owner
        self._registry = registry
        self._tasks: list[NewTask] = []
        self._lock = Lock()

    @property
    def tasks(self) -> tuple[NewTask, ...]:
        with self._lock:
            return tuple(self._tasks)

    def create(self, follow_up: FollowUp) -> UUID:
        """Take in a wish; the id of its task. Raises BadFollowUp."""
        return self.take(requested(follow_up))

    def take(self, request: CreateRequest) -> UUID:
        """Take in a request that was checked as far as this can be done without its handler."""
        task = self._checked(request)
        with self._lock:
            next_id = id_of(len(self._tasks))
            task_id = request.id or next_id
            self._tasks.append(replace(task, id=task_id))
            return task_id

    def _checked(self, request: CreateRequest) -> NewTask:
        if request.kind not in self._registry:
            raise BadFollowUp(
                f"create_task: there is no kind {request.kind!r} here; TASK_HANDLERS names the modules of "
                f"handlers, which give {', '.join(self._registry)}."
            )
        try:
            return checked(self._owner, request, self._registry)
        except InvalidInput as error:
            raise refusal(request.kind, error.issues) from None


class PassedOn:
    """What a handler asks for in a process of its own: said to the worker, which knows all handlers."""

    def __init__(self, say: Callable[[CreateRequest], None]) -> None:
        self._say = say
        self._count = 0
        self._lock = Lock()

    def create(self, follow_up: FollowUp) -> UUID:
        """Pass on a wish; the id of its task. Raises BadFollowUp."""
        request = requested(follow_up)
        with self._lock:
            task_id = id_of(self._count)
            self._say(replace(request, id=task_id))
            self._count += 1
            return task_id


def requested(follow_up: FollowUp) -> CreateRequest:
    """The wish as a request, in which nothing is wrong but perhaps its input for a kind given by name."""
    kind = kind_of(follow_up)
    try:
        work = input_of(follow_up)
    except InvalidInput as error:
        raise refusal(kind, ((("work", kind, *path), reason) for path, reason in error.issues)) from None
    request = CreateRequest(
        title=follow_up.title.strip(),
        description=follow_up.description,
        kind=kind,
        work=work,
        priority=TaskPriority(follow_up.priority),
        run_at=follow_up.run_at,
        expires_at=follow_up.expires_at,
        ordering_key=follow_up.ordering_key,
        tags=follow_up.tags,
    )
    if issues := [*field_issues(request), *call_issues(request), *json_issues(("work", kind), work)]:
        raise refusal(kind, issues)
    return request


def kind_of(follow_up: FollowUp) -> str:
    if handler := declared(follow_up.handler):
        return handler.kind
    if isinstance(follow_up.handler, str) and KIND_NAME.fullmatch(follow_up.handler):
        return follow_up.handler
    raise BadFollowUp(f"create_task: {follow_up.handler!r} is no handler; pass one, or the name of its kind.")


def input_of(follow_up: FollowUp) -> JSON:
    """The input as JSON, checked where its handler is given. Raises InvalidInput."""
    given = {} if follow_up.input is None else follow_up.input
    if handler := declared(follow_up.handler):
        return handler.stored(given)
    try:
        return to_jsonable_python(given, by_alias=False)
    except UnicodeEncodeError:
        raise InvalidInput(((), UNSTORABLE_TEXT)) from None
    except PydanticSerializationError as error:
        raise InvalidInput(((), f"can't be made JSON ({error}); pass its model, or plain JSON")) from None


def call_issues(request: CreateRequest) -> list[InputIssue]:
    """What a call can have wrong, while GraphQL lets no client do so; else what is wrong with the times."""
    if isinstance(request.tags, str):
        return [(("tags",), "is one text; give a list of them")]
    given = {"run_at": request.run_at, "expires_at": request.expires_at}
    naive: list[InputIssue] = [
        ((name,), "has no time zone; give it one, as in datetime.now(UTC)")
        for name, moment in given.items()
        if moment is not None and moment.utcoffset() is None
    ]
    return naive or time_issues(request, datetime.now(UTC))


def refusal(kind: str, issues: Iterable[InputIssue]) -> BadFollowUp:
    reasons = (f"{place_of(path)} {reason}" for path, reason in issues)
    return BadFollowUp(f"create_task({kind!r}): {'; '.join(reasons)}.")


def place_of(path: tuple[str, ...]) -> str:
    """Where in the call something is wrong: the input's path begins with `work` and the kind."""
    return ".".join(("input", *path[2:]) if path[0] == "work" else path)


def id_of(number: int) -> UUID:
    """A UUIDv7 for the attempt's next follow-up; within a millisecond their numbers keep them in order."""
    if number == MAX_FOLLOW_UPS:
        raise BadFollowUp(f"create_task: an attempt can create {MAX_FOLLOW_UPS} tasks and no more.")
    milliseconds = time.time_ns() // 1_000_000
    return UUID(int=milliseconds << 80 | 0x7 << 76 | number << 64 | 0b10 << 62 | secrets.randbits(62))
