"""What a handler is given besides its input."""

import logging
import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, cast
from uuid import UUID

from taskql.queues import TaskPriority
from taskql.storable import storable
from taskql.task import Progress
from taskql.value import value_class

MAX_PROGRESS_MESSAGE_CHARS = 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowUp:
    """A task that a handler wants, as it asks for it: unchecked."""

    handler: str | Callable[..., Any]
    input: object
    title: str
    description: str | None
    tags: Sequence[str]
    priority: TaskPriority
    run_at: datetime | None
    expires_at: datetime | None
    ordering_key: str | None


@value_class()
class Host:
    """Who runs an attempt, as far as its context needs them. All may be called from any thread."""

    report: Callable[[Progress], None]
    is_cancelled: Callable[[], bool]
    create: Callable[[FollowUp], UUID]
    resources: Mapping[type, object]


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The running attempt as its handler sees it. All of it may be used from any thread.

    In a process of its own (`process=True`) two things differ: `cancelled` stays False, since a cancelled
    task's process is killed; and there are only the resources of the handler's own module, opened for this
    call.
    """

    id: UUID
    attempt: int
    kind: str
    title: str
    description: str | None
    tags: tuple[str, ...]
    _host: Host

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the result any more: the task was cancelled or the lease is lost."""
        return self._host.is_cancelled()

    @property
    def idempotency_token(self) -> str:
        """Up to 40 characters, the same in every attempt, also after a retryTask or a redrive.

        Give it to an outside system that takes each token once. For a second effect of one task, append what
        that effect is: `f"{task.idempotency_token}-receipt"`.
        """
        return str(self.id)

    @property
    def log(self) -> "TaskLog":
        """A logger named `task.<kind>`, whose every record names the task, its kind and the attempt."""
        return TaskLog(self.id, self.kind, self.attempt)

    def progress(self, fraction: float, message: str | None = None) -> None:
        """Show watchers how far the task is: `fraction` from 0 to 1, `message` up to 500 characters.

        What exceeds these is cut. Returns at once. Watchers see at most four reports a second, the last
        one always.
        """
        if not math.isfinite(fraction):
            raise ValueError("progress() takes a finite fraction from 0 to 1")
        text = storable(message)[:MAX_PROGRESS_MESSAGE_CHARS] if message else None
        self._host.report(Progress(min(max(float(fraction), 0.0), 1.0), text))

    def resource(self, wanted: type[T]) -> T:
        """What the lifespan for this very type has opened. Raises LookupError where there is none.

        It is one object for all tasks of the worker, so use it as its library allows: from several threads,
        say, or from the worker's loop alone.
        """
        try:
            return cast(T, self._host.resources[wanted])
        except KeyError:
            there = ", ".join(sorted(map(type_name, self._host.resources))) or "none at all"
            raise LookupError(
                f"no lifespan yields {type_name(wanted)} here; there is {there}. Define one with @lifespan "
                "at the top of a handler module, for a process of its own in the handler's own module."
            ) from None

    def create_task(
        self,
        handler: str | Callable[..., Any],
        input: object = None,
        *,
        title: str,
        description: str | None = None,
        tags: Sequence[str] = (),
        priority: TaskPriority = TaskPriority.NORMAL,
        run_at: datetime | None = None,
        expires_at: datetime | None = None,
        ordering_key: str | None = None,
    ) -> UUID:
        """Have a task of the same owner follow on this one; the id that it will have.

        It is stored in the transaction that records this task as COMPLETED: all that an attempt asked for, or
        nothing, if it fails, is retried, given back or cancelled, or loses its lease. So the next attempt may
        ask again. At most 100 an attempt.

        `handler` is the function, or its kind; `input` its model, or JSON by the model's field names; times
        carry their zone. Raises BadFollowUp (a ValueError) at once where that can't be accepted, which fails
        the task for good unless the handler catches it. Only in a process of its own the input for a kind
        that is given by its name is checked later, once the handler has returned.
        """
        return self._host.create(
            FollowUp(
                handler=handler,
                input=input,
                title=title,
                description=description,
                tags=tags,
                priority=priority,
                run_at=run_at,
                expires_at=expires_at,
                ordering_key=ordering_key,
            )
        )


class TaskLog(logging.LoggerAdapter[logging.Logger]):
    """Names the task in the text of each record, and in its attributes `task_id`, `kind` and `attempt`."""

    def __init__(self, task_id: UUID, kind: str, attempt: int) -> None:
        marks = {"task_id": str(task_id), "kind": kind, "attempt": attempt}
        super().__init__(logging.getLogger(f"task.{kind}"), marks)
        self._whose = f"[task {task_id}, attempt {attempt}]"

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return f"{msg} {self._whose}", kwargs


def type_name(of: type) -> str:
    return f"{of.__module__}.{of.__qualname__}" if of.__module__ != "builtins" else of.__qualname__
