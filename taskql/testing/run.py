"""One attempt of a handler, without any service.

Invariant: what a test sees here is what a worker makes of the handler, by the worker's own code: the input is
checked and stored as `createTask` does it, the result as it is recorded, an exception as it is shown.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from taskql.context import Host, TaskContext
from taskql.creation import CreateRequest, checked
from taskql.errors import HandlerRefused
from taskql.follow_ups import FollowUps
from taskql.handler import Handler, declared
from taskql.outcome import Retry
from taskql.policy import MAX_STORED_RESULT_BYTES
from taskql.registry import Registry, handlers_in
from taskql.retry import plan_retry
from taskql.task import JSON, Failure, NewTask, Progress

OWNER = "local"
TASK_ID = UUID("01890000-0000-7000-8000-000000000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What became of one attempt.

    `stored` is the result as JSON; `follow_ups` are the tasks that are created with it. `retry_after` is the
    longest wait before the next attempt, None where none follows.
    """

    progress: tuple[Progress, ...]
    stored: JSON = None
    follow_ups: tuple[NewTask, ...] = ()
    failure: Failure | None = None
    retry_after: timedelta | None = None
    error: BaseException | None = None
    returned: Any = None

    @property
    def result(self) -> Any:
        """What the handler returned. Raises AssertionError, from what the handler raised, if it failed."""
        if self.failure is not None:
            raise AssertionError(f"it failed: {self.failure.code}: {self.failure.message}") from self.error
        return self.returned


async def perform(
    function: Callable[..., Any],
    work: object = None,
    *,
    attempt: int = 1,
    title: str = "A task",
    description: str | None = None,
    tags: Sequence[str] = (),
    cancelled: bool = False,
    resources: Mapping[type, object] = MappingProxyType({}),
    handlers: Sequence[Callable[..., Any]] = (),
    max_result_bytes: int = MAX_STORED_RESULT_BYTES,
) -> Run:
    """Run a handler once, as a worker would; its time limit alone is not kept, and it gets no process.

    `work` is an instance of its input model, or JSON by the model's own field names. `resources` stand in for
    what lifespans yield, by type. `create_task` knows the handlers of the function's module, and `handlers`.
    A deployment with RESULTS_BUCKET takes results of more than the usual `max_result_bytes`.
    Raises InvalidInput where `createTask` would refuse the task.
    """
    handler = handler_of(function)
    known = known_to(handler, handlers)
    wish = CreateRequest(title=title, description=description, tags=tags, kind=handler.kind, work=work)
    task = checked(OWNER, wish, known)
    reports: list[Progress] = []
    follow_ups = FollowUps(OWNER, known)
    host = Host(reports.append, lambda: cancelled, follow_ups.create, resources)
    context = TaskContext(
        TASK_ID, attempt, handler.kind, task.title, task.description, tuple(task.tags), host
    )
    try:
        returned = await call(handler, handler.arguments(as_read(task.input), context))
        stored = handler.result(returned, max_result_bytes)
    except (Exception, SystemExit) as error:  # a handler's exit is no end of the tests
        return failed(handler, error, attempt, tuple(reports))
    return Run(progress=tuple(reports), stored=stored, follow_ups=follow_ups.tasks, returned=returned)


def perform_sync(function: Callable[..., Any], work: object = None, **options: Any) -> Run:
    """`perform`, for tests that are plain functions."""
    return asyncio.run(perform(function, work, **options))


def handler_of(function: Callable[..., Any]) -> Handler:
    if (found := declared(function)) is None:
        raise HandlerRefused(f"{function!r} is no handler: put @handler(…) on it.")
    return found


def known_to(handler: Handler, functions: Sequence[Callable[..., Any]]) -> Registry:
    """The handlers that may be asked for by `create_task`."""
    module = sys.modules[handler.function.__module__]
    return Registry([handler, *handlers_in(module), *map(handler_of, functions)])


def as_read(stored: JSON) -> JSON:
    """What comes back from the database: JSON, and nothing that only looks like it."""
    return json.loads(json.dumps(stored))


async def call(handler: Handler, arguments: tuple[Any, ...]) -> Any:
    if handler.is_async:
        return await handler.function(*arguments)
    return await asyncio.to_thread(handler.function, *arguments)


def failed(handler: Handler, error: BaseException, attempt: int, progress: tuple[Progress, ...]) -> Run:
    plan = plan_retry(attempt, handler.max_attempts, error, lambda: 1.0, handler.failures)
    delay = plan.delay if isinstance(plan, Retry) else None
    return Run(progress=progress, failure=plan.failure, retry_after=delay, error=error)
