"""One run of a handler, from call to outcome.

Invariant: `run` always answers with an outcome, whatever the handler does: returns, raises, hangs, exits.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from typing import assert_never

from consumer.thread import ThreadCall
from taskql.context import TaskContext
from taskql.errors import InvalidInput, TaskQLError
from taskql.handler import Handler
from taskql.outcome import Abandoned, Failed, Outcome, Released, Succeeded
from taskql.retry import TimedOut, plan_retry
from taskql.task import Failure, Progress, Task

UNWIND = timedelta(seconds=5)
"""How long a cancelled handler may take to clean up before its outcome is recorded without it."""

log = logging.getLogger(__name__)


class StopReason(Enum):
    """Why an attempt is stopped from outside."""

    LEASE_LOST = "lease lost"
    DRAINED = "drained"


class Attempt:
    """A handler's run for one claim."""

    def __init__(self, handler: Handler, task: Task, report: Callable[[Progress], None]) -> None:
        self._handler = handler
        self._task = task
        self._stopped = asyncio.Event()
        self._reason: StopReason | None = None
        self._thread: ThreadCall | None = None
        self._call: asyncio.Task[Outcome] | None = None
        self._context = TaskContext(
            task.id, task.attempt, task.title, task.description, report, self._stopped.is_set
        )

    def stop(self, reason: StopReason) -> None:
        """End the run early. The first reason counts."""
        self._reason = self._reason or reason
        self._stopped.set()

    async def run(self) -> Outcome:
        """Call the handler within its time limit."""
        if self._stopped.is_set():  # a thread that has begun could not be stopped
            return self._interrupted()
        self._call = asyncio.create_task(self._outcome())
        stopped = asyncio.create_task(self._stopped.wait())
        limit = self._handler.timeout.total_seconds()
        await asyncio.wait({self._call, stopped}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._call.done():
            return self._call_result(self._call)
        self._stopped.set()
        self._call.cancel()
        await asyncio.wait({self._call}, timeout=UNWIND.total_seconds())
        return self._interrupted()

    async def settled(self) -> None:
        """Wait for what could not be stopped: a thread, or a handler that ignores its cancellation."""
        if self._call is not None:
            await asyncio.wait({self._call})
        if self._thread is not None:
            await self._thread.ended.wait()

    async def _outcome(self) -> Outcome:
        try:
            arguments = self._handler.arguments(self._task.input, self._context)
        except InvalidInput as error:
            message = f"The handler no longer accepts this task's input: {error}"
            return Failed(Failure("INVALID_INPUT", message[:2_000], retryable=False))
        except Exception as error:  # a model's own validator may raise anything
            return self._planned(error)
        try:
            if self._handler.is_async:
                value = await self._handler.function(*arguments)
            else:
                self._thread = ThreadCall(self._handler.function, *arguments)
                value = await self._thread.result()
            return Succeeded(self._handler.result(value))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # SystemExit too: a handler's exit must not be the worker's
            return self._planned(error)

    def _planned(self, error: BaseException) -> Outcome:
        # What a handler says on purpose needs no traceback.
        unexpected = None if isinstance(error, TaskQLError | TimedOut) else error
        task, name = self._task, type(error).__name__
        message = "attempt %d of task %s (%s) ended with %s"
        log.info(message, task.attempt, task.id, task.kind, name, exc_info=unexpected)
        return plan_retry(task.attempt, task.max_attempts, error, random.random)

    def _call_result(self, call: "asyncio.Task[Outcome]") -> Outcome:
        return self._planned(asyncio.CancelledError()) if call.cancelled() else call.result()

    def _interrupted(self) -> Outcome:
        match self._reason:
            case None:
                limit = self._handler.timeout.total_seconds()
                return self._planned(TimedOut(f"The handler did not finish within its {limit:g} s."))
            case StopReason.LEASE_LOST:
                return Abandoned()
            case StopReason.DRAINED:
                return Released()
            case _:
                assert_never(self._reason)
