"""A handler's call in a process of its own: the same outcomes as at home, and no crash is contagious."""

import asyncio
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGRTMIN
from typing import Any
from uuid import UUID

import pytest

from consumer import process as module
from consumer.attempt import Attempt, StopReason, may_crash
from consumer.pipe import longest_line
from taskql import TaskContext, handler
from taskql import task as values
from taskql.follow_ups import FollowUps
from taskql.handler import MAX_RESULT_BYTES, declared
from taskql.lifecycle import AttemptOutcome, TaskStatus
from taskql.outcome import Abandoned, Failed, Outcome, Released, Retry, Succeeded
from taskql.policy import Policy
from taskql.queues import TaskPriority
from taskql.registry import Registry, handlers_in
from taskql.retry import MAX_RETRY_DELAY, describe
from taskql.task import Failure, Progress, Task
from tests.unit import process_handlers as handlers

NOW = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
LONGEST_WAIT_SECONDS = 60
REGISTRY = Registry(handlers_in(handlers))
POLICY = Policy()
CRASH = Failure("CRASHED", "it crashed", retryable=True)
ERROR = Failure("EXCEPTION", "it raised", retryable=True)


def past(*outcomes: tuple[AttemptOutcome, Failure | None]) -> tuple[values.Attempt, ...]:
    """Attempts that ended, and the one that runs."""
    ended = [values.Attempt(n, NOW, NOW, *outcome) for n, outcome in enumerate(outcomes, 1)]
    return (*ended, values.Attempt(len(ended) + 1, NOW))


def a_task(kind: str, data: dict[str, Any], **changes: Any) -> Task:
    fields: dict[str, Any] = {
        "id": UUID(int=7), "status": TaskStatus.PROCESSING, "version": 2, "attempt": 1, "max_attempts": 3,
        "attempts": past(), "progress": None, "result": None, "failure": None, "updated_at": NOW,
        "started_at": NOW, "finished_at": None, "expires_at": None, "run_at": None,
        "priority": TaskPriority.NORMAL, "ordering_key": None, "tags": (),
        "owner": "ada", "kind": kind, "title": "a title", "description": "of it",
        "input": data, "created_at": NOW,
    }  # fmt: skip
    return Task(**(fields | changes))


class Run:
    """An attempt, with what it reported."""

    def __init__(
        self, function: Callable[..., Any], data: dict[str, Any], policy: Policy = POLICY, **task: Any
    ) -> None:
        self.reports: list[Progress] = []
        self.reported = asyncio.Event()
        found = declared(function)
        assert found is not None
        self.follow_ups = FollowUps("ada", REGISTRY)
        task_of_it = a_task(found.kind, data, **task)
        self.attempt = Attempt(found, task_of_it, self.report, self.follow_ups, {}, policy)

    def report(self, progress: Progress) -> None:
        self.reports.append(progress)
        self.reported.set()

    async def outcome(self) -> Outcome:
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            outcome = await self.attempt.run()
            await self.attempt.settled()
        return outcome

    async def outcome_when_stopped(self, reason: StopReason) -> Outcome:
        """Stop it once it has reported."""
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            running = asyncio.create_task(self.outcome())
            await self.reported.wait()
            self.attempt.stop(reason)
            return await running


async def outcome_of(function: Callable[..., Any], **data: Any) -> Outcome:
    return await Run(function, data).outcome()


def crashed(outcome: Outcome) -> str:
    """The text of a crash that will be retried."""
    assert isinstance(outcome, Retry)
    assert (outcome.failure.code, outcome.failure.retryable) == ("CRASHED", True)
    return outcome.failure.message


def all_gone(told: Path) -> bool:
    """Whether the processes that a handler wrote down have ended; a zombie has, whoever may reap it."""
    return all(has_ended(pid) for pid in told.read_text().split())


def has_ended(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def until_all_gone(told: Path) -> None:
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        while not all_gone(told):
            await asyncio.sleep(0.01)


# ---------------------------------------------------------------- returns


@pytest.mark.parametrize("function", [handlers.double, handlers.double_later])
async def test_what_a_handler_returns_is_the_result(function: Callable[..., Any]) -> None:
    assert await outcome_of(function, x=4) == Succeeded({"x": 8})


async def test_a_handler_is_given_its_task_and_an_empty_standard_input() -> None:
    outcome = await Run(handlers.look, {}, attempt=2).outcome()
    assert outcome == Succeeded({"text": f"{UUID(int=7)} 2 a title of it False ''"})


async def test_input_that_fills_the_pipe_many_times_arrives() -> None:
    assert await outcome_of(handlers.double, x=4, path="ü" * 1_000_000) == Succeeded({"x": 8})


async def test_progress_from_many_threads_arrives_whole_and_in_order() -> None:
    run = Run(handlers.report, {})
    assert await run.outcome() == Succeeded({"x": 1})
    assert run.reports == [*[Progress(0.5, "\ufffd" + "ü" * 499)] * 20, Progress(1.0)]


async def test_a_result_arrives_whole_though_threads_go_on_reporting() -> None:
    assert await outcome_of(handlers.report_on) == Succeeded({"text": "x" * 60_000})


async def test_the_largest_result_arrives() -> None:
    characters = (MAX_RESULT_BYTES - len('{"text":""}')) // 2
    assert await outcome_of(handlers.largest, x=characters) == Succeeded({"text": "ü" * characters})


async def test_a_larger_result_fails_the_task() -> None:
    outcome = await outcome_of(handlers.largest, x=MAX_RESULT_BYTES)
    assert isinstance(outcome, Failed)
    assert outcome.failure.code == "RESULT_TOO_LARGE"


async def test_a_wrong_result_fails_the_task() -> None:
    outcome = await outcome_of(handlers.wrong_result)
    assert isinstance(outcome, Failed)
    assert (outcome.failure.code, outcome.failure.retryable) == ("INVALID_RESULT", False)


async def test_input_that_the_handler_no_longer_accepts_fails_the_task() -> None:
    outcome = await outcome_of(handlers.double, x="many")
    assert isinstance(outcome, Failed)
    assert outcome.failure.code == "INVALID_INPUT"
    assert outcome.failure.message.startswith("The handler no longer accepts this task's input: x: ")


async def test_what_a_handler_prints_goes_to_standard_error_and_is_no_answer(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert await outcome_of(handlers.print_much) == Succeeded({"x": 1})
    printed = capfd.readouterr()
    assert printed.out == ""
    assert '{"result": {"x": 666}}\n' + "x" * 1_000_000 in printed.err


async def test_a_larger_result_arrives_where_the_deployment_allows_it() -> None:
    run = Run(handlers.largest, {"x": 3_000_000}, policy=Policy(max_result_bytes=10 * 1024 * 1024))
    assert await run.outcome() == Succeeded({"text": "ü" * 3_000_000})


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (handlers.look_up, "lookUp ('a',) opened in the loop"),
        (handlers.look_up_plainly, "opened in the loop"),
    ],
)
async def test_the_lifespans_of_its_module_are_open(function: Callable[..., Any], text: str) -> None:
    assert await Run(function, {}, tags=("a",)).outcome() == Succeeded({"text": text})


async def test_what_a_handler_asks_for_comes_with_its_result() -> None:
    outcome = await outcome_of(handlers.ask)
    assert isinstance(outcome, Succeeded)
    assert outcome.result == {"text": " ".join(str(task.id) for task in outcome.follow_ups)}
    assert [(task.owner, task.kind, task.title, task.run_at) for task in outcome.follow_ups] == [
        ("ada", "double", "first", None),
        ("ada", "whoAmI", "second", handlers.LATER),
    ]


async def test_a_handler_that_asked_and_then_raised_is_tried_again_and_nothing_follows() -> None:
    run = Run(handlers.ask, {"path": "busy"})
    outcome = await run.outcome()
    assert isinstance(outcome, Retry)
    assert run.follow_ups.tasks == ()


async def test_a_follow_up_that_only_the_worker_can_refuse_fails_the_task() -> None:
    outcome = await outcome_of(handlers.ask, x=1)
    assert isinstance(outcome, Failed)
    assert outcome.failure.code == "INVALID_FOLLOW_UP"
    assert outcome.failure.message.startswith("create_task('double'): input.x ")


# ---------------------------------------------------------------- raises


async def test_a_declared_failure_keeps_its_fields() -> None:
    outcome = await outcome_of(handlers.sell)
    assert isinstance(outcome, Failed)
    assert outcome.failure.code == "OUT_OF_STOCK"
    detail = {"__typename": "OutOfStock", "sku": "X-7", "message": "Nothing is left."}
    assert outcome.failure.detail == detail


async def test_the_text_of_any_exception_is_shown_where_the_deployment_exposes_it() -> None:
    outcome = await Run(handlers.raise_it, {"x": 5}, policy=Policy(expose_errors=True)).outcome()
    assert isinstance(outcome, Retry)
    assert outcome.failure.message == "ValueError: secret"


@pytest.mark.parametrize("function", [handlers.raise_it, handlers.raise_later])
@pytest.mark.parametrize("number", range(len(handlers.RAISED)))
async def test_whatever_a_handler_raises_is_the_outcome_that_it_is_at_home(
    function: Callable[..., Any], number: int
) -> None:
    error = handlers.RAISED[number]
    if isinstance(error, StopIteration) and function is handlers.raise_later:
        error = RuntimeError()  # as Python has it for coroutines
    outcome = await outcome_of(function, x=number)
    assert isinstance(outcome, Retry | Failed)
    assert outcome.failure == describe(error)
    assert isinstance(outcome, Failed) == (outcome.failure.code == "PERMANENT")


@pytest.mark.parametrize(("number", "delay"), [(3, timedelta(minutes=7)), (4, MAX_RETRY_DELAY)])
async def test_a_handler_s_own_delay_is_kept(number: int, delay: timedelta) -> None:
    outcome = await outcome_of(handlers.raise_it, x=number)
    assert isinstance(outcome, Retry)
    assert outcome.delay == delay


async def test_a_handler_that_its_module_does_not_hold_is_an_exception() -> None:
    def build() -> Callable[..., Any]:
        @handler("elsewhere")
        def perform(task: TaskContext) -> handlers.Out:
            return handlers.Out(x=1)

        perform.__qualname__ = "perform"
        perform.__module__ = handlers.__name__
        return perform

    outcome = await Run(build(), {}, attempts=past((AttemptOutcome.LOST, CRASH))).outcome()
    assert isinstance(outcome, Retry)
    assert outcome.failure == Failure("EXCEPTION", "The handler raised HandlerRefused.", retryable=True)


# ---------------------------------------------------------------- crashes


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("exit 3", "The handler's process exited with code 3."),
        ("exit 0", "The handler's process exited with code 0."),
        ("segfault", "The handler's process was killed by SIGSEGV."),
        ("kill", "The handler's process was killed by SIGKILL."),
        ("real-time", f"The handler's process was killed by signal {SIGRTMIN + 2}."),
    ],
)
async def test_a_crash_is_told_and_tried_again(how: str, text: str) -> None:
    assert crashed(await outcome_of(handlers.crash, path=how)) == text


async def test_the_last_attempt_that_crashes_fails_the_task_as_crashed() -> None:
    outcome = await Run(handlers.crash, {"path": "exit 3"}, attempt=3).outcome()
    text = "The handler's process exited with code 3."
    assert outcome == Failed(Failure("CRASHED", text, retryable=True))


async def test_when_memory_runs_out_a_child_goes_before_its_worker() -> None:
    assert await outcome_of(handlers.badness) == Succeeded({"x": 1000})


async def test_a_process_that_cannot_be_started_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    text = "The handler's process could not be started: No such file or directory."
    assert crashed(await outcome_of(handlers.double)) == text


@pytest.mark.parametrize(
    "written",
    [
        {"x": 10 * longest_line(Policy())},
        {"path": "not JSON"},
        {"path": "[]"},
        {"path": "[" * 60_000},
        {"path": '{"progress": {"no": 1}}'},
        {"path": '{"failure": {}, "after": 1e300}'},
    ],
)
async def test_one_who_writes_into_the_pipe_is_killed(written: dict[str, Any]) -> None:
    text = "The handler's process wrote into the pipe of its worker."
    assert crashed(await outcome_of(handlers.write_into_the_pipe, **written)) == text


async def test_what_a_crashed_handler_started_is_killed_and_holds_up_nobody(tmp_path: Path) -> None:
    told = tmp_path / "told"
    outcome = await outcome_of(handlers.leave_one_behind, path=str(told))
    assert crashed(outcome) == "The handler's process exited with code 4."
    await until_all_gone(told)


# ---------------------------------------------------------------- stopped


async def test_a_handler_that_takes_too_long_is_killed_and_tried_again() -> None:
    outcome = await outcome_of(handlers.hang)
    assert isinstance(outcome, Retry)
    text = "The handler did not finish within its 0.001 s."
    assert outcome.failure == Failure("TIMEOUT", text, retryable=True)


@pytest.mark.parametrize(
    ("reason", "outcome"), [(StopReason.LEASE_LOST, Abandoned()), (StopReason.DRAINED, Released())]
)
async def test_a_stopped_handler_is_killed_with_all_it_started(
    tmp_path: Path, reason: StopReason, outcome: Outcome
) -> None:
    told = tmp_path / "told"
    assert await Run(handlers.hang_long, {"path": str(told)}).outcome_when_stopped(reason) == outcome
    await until_all_gone(told)


async def test_a_handler_that_is_stopped_while_it_starts_is_killed() -> None:
    run = Run(handlers.hang_long, {"path": ""})
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        running = asyncio.create_task(run.outcome())
        await asyncio.sleep(0)
        run.attempt.stop(StopReason.DRAINED)
        assert await running == Released()


async def test_a_process_that_does_not_end_after_its_result_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FAREWELL", timedelta(milliseconds=1))
    told = tmp_path / "told"
    assert await outcome_of(handlers.never_exit, path=str(told)) == Succeeded({"x": 1})
    await until_all_gone(told)


# ---------------------------------------------------------------- after a crash


@pytest.mark.parametrize(
    ("before", "apart"),
    [
        ([], False),
        ([(AttemptOutcome.LOST, CRASH)], True),
        ([(AttemptOutcome.RETRIED, CRASH)], True),
        ([(AttemptOutcome.FAILED, CRASH)], True),
        ([(AttemptOutcome.RETRIED, ERROR)], False),
        ([(AttemptOutcome.LOST, CRASH), (AttemptOutcome.RETRIED, ERROR)], False),
        ([(AttemptOutcome.LOST, CRASH), (AttemptOutcome.RELEASED, None)], True),
        ([(AttemptOutcome.LOST, CRASH), (AttemptOutcome.CANCELLED, None)], True),
        ([(AttemptOutcome.RELEASED, None)], False),
    ],
)
def test_a_task_that_took_a_process_along_may_crash_again(
    before: list[tuple[AttemptOutcome, Failure | None]], apart: bool
) -> None:
    assert may_crash(a_task("any", {}, attempts=past(*before))) is apart


async def test_after_a_lost_attempt_the_next_one_runs_in_a_process_of_its_own() -> None:
    at_home = await outcome_of(handlers.who_am_i)
    apart = await Run(handlers.who_am_i, {}, attempts=past((AttemptOutcome.LOST, CRASH))).outcome()
    assert at_home == Succeeded({"x": os.getpid()})
    assert isinstance(apart, Succeeded)
    assert apart != at_home


async def test_a_handler_that_no_process_can_import_runs_at_home_all_the_same() -> None:
    @handler("nested")
    async def nested(task: TaskContext) -> handlers.Out:
        return handlers.Out(x=os.getpid())

    outcome = await Run(nested, {}, attempts=past((AttemptOutcome.LOST, CRASH))).outcome()
    assert outcome == Succeeded({"x": os.getpid()})
