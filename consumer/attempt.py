"""One run of a handler, from call to outcome.

Invariant: `run` always answers with an outcome, whatever the handler does: returns, raises, hangs, exits.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import Enum
from typing import assert_never

from consumer.call import Call, InLoop, InThread
from consumer.process import InProcess
from taskql.context import Host, TaskContext
from taskql.errors import TaskQLError
from taskql.follow_ups import FollowUps
from taskql.handler import Handler
from taskql.lifecycle import AttemptOutcome
from taskql.outcome import Abandoned, Outcome, Released, Succeeded
from taskql.policy import Policy
from taskql.retry import CRASHED, TimedOut, plan_retry
from taskql.task import Progress, Task

START_UP = timedelta(seconds=30)
"""How long a process may take to start and import its handler before its time limit runs all the same."""

UNWIND = timedelta(seconds=5)
"""How long a cancelled handler may take to clean up before its outcome is recorded without it."""

STOPPED_FROM_OUTSIDE = frozenset({AttemptOutcome.RELEASED, AttemptOutcome.CANCELLED})
"""How an attempt ends that says nothing about its handler."""

log = logging.getLogger(__name__)


class StopReason(Enum):
    """Why an attempt is stopped from outside."""

    LEASE_LOST = "lease lost"
    DRAINED = "drained"


class Attempt:
    """A handler's run for one claim. What it asks for by `create_task` is in `follow_ups`."""

    def __init__(
        self,
        handler: Handler,
        task: Task,
        report: Callable[[Progress], None],
        follow_ups: FollowUps,
        resources: Mapping[type, object],
        policy: Policy,
    ) -> None:
        self._handler = handler
        self._task = task
        self._report = report
        self._follow_ups = follow_ups
        self._resources = resources
        self._policy = policy
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._has_begun = False
        self._enough: asyncio.Future[None] = self._loop.create_future()
        self._reason: StopReason | None = None
        self._is_stopped = False
        self._call: Call | None = None
        self._run: asyncio.Task[Outcome] | None = None

    def stop(self, reason: StopReason) -> None:
        """End the run early. The first reason counts."""
        self._reason = self._reason or reason
        self._is_stopped = True
        self._end()

    async def run(self) -> Outcome:
        """Call the handler within its time limit."""
        if self._is_stopped:  # a thread that has begun could not be stopped
            return self._interrupted()
        self._call = self._chosen_call()
        self._run = self._loop.create_task(self._outcome(self._call))
        await self._ended_or_enough(self._run)
        if self._run.done():
            return self._run_result(self._run)
        outcome = self._interrupted()  # settled now: a stop while it unwinds is no excuse for a time-out
        self._is_stopped = True
        self._run.cancel()
        await asyncio.wait({self._run}, timeout=UNWIND.total_seconds())
        return outcome

    async def settled(self) -> None:
        """Wait for what could not be stopped: a thread, or a handler that ignores its cancellation."""
        if self._run is not None and self._call is not None:
            if not self._run.done():
                await asyncio.wait({self._run})
            await self._call.settled()

    def _chosen_call(self) -> Call:
        handler, task = self._handler, self._task
        if handler.process or (handler.is_importable and may_crash(task)):
            self._timer = self._loop.call_later(START_UP.total_seconds(), self._begin)
            return InProcess(handler, task, self._policy, self._report, self._begin, self._follow_ups)
        self._begin()
        host = Host(self._report, lambda: self._is_stopped, self._follow_ups.create, self._resources)
        context = TaskContext(task.id, task.attempt, task.kind, task.title, task.description, task.tags, host)
        return (InLoop if handler.is_async else InThread)(handler, task.input, context, self._policy)

    async def _outcome(self, call: Call) -> Outcome:
        try:
            return Succeeded(await call.result(), self._follow_ups.tasks)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # SystemExit too: a handler's exit must not be the worker's
            return self._planned(error)

    async def _ended_or_enough(self, run: "asyncio.Task[Outcome]") -> None:
        """Return when the run has ended or has to: its time is over, or it is stopped."""
        run.add_done_callback(self._end)
        try:
            await self._enough
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _begin(self) -> None:
        """The handler's time begins: once it is called, or should have been by now."""
        if not self._has_begun and not self._enough.done():
            self._has_begun = True
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(self._handler.timeout.total_seconds(), self._end)

    def _end(self, _: object = None) -> None:
        if not self._enough.done():
            self._enough.set_result(None)

    def _planned(self, error: BaseException) -> Outcome:
        # What a handler says on purpose needs no traceback; what another process raised, that one logged.
        unexpected = None if isinstance(error, TaskQLError) else error
        task, handler = self._task, self._handler
        plan = plan_retry(
            self._tries,
            handler.max_attempts,
            error,
            random.random,
            handler.failures,
            expose=self._policy.expose_errors,
        )
        message = "attempt %d of task %s (%s) ended with %s"
        log.info(message, task.attempt, task.id, task.kind, plan.failure.code, exc_info=unexpected)
        return plan

    @property
    def _tries(self) -> int:
        """Which try this is since the task was created or last redriven; given-back attempts don't count."""
        left = self._task.max_attempts - self._task.attempt
        return max(self._handler.max_attempts - left, 1)

    def _run_result(self, run: "asyncio.Task[Outcome]") -> Outcome:
        return self._planned(asyncio.CancelledError()) if run.cancelled() else run.result()

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


def may_crash(task: Task) -> bool:
    """Whether the last attempt that came to an end of its own took its worker or its own process along."""
    for attempt in reversed(task.attempts[:-1]):
        if attempt.outcome not in STOPPED_FROM_OUTSIDE:
            crashed = attempt.failure is not None and attempt.failure.code == CRASHED
            return crashed or attempt.outcome is AttemptOutcome.LOST
    return False
