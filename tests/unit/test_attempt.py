"""One run of a handler: whatever it does, there is an outcome."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, field_validator

from consumer import attempt as module
from consumer.attempt import Attempt, StopReason
from taskql import Permanent, Retryable, TaskContext, handler
from taskql.follow_ups import FollowUps
from taskql.handler import declared
from taskql.lifecycle import TaskStatus
from taskql.outcome import Abandoned, Failed, Outcome, Released, Retry, Succeeded
from taskql.policy import Policy
from taskql.queues import TaskPriority
from taskql.registry import load_registry
from taskql.retry import backoff
from taskql.task import Failure, Progress, Task

NOW = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
LONGEST_WAIT_SECONDS = 60
HOUR = timedelta(hours=1)
AT_ONCE = timedelta(milliseconds=1)
REGISTRY = load_registry()
RESOURCES: dict[type, object] = {bytes: b"opened"}
POLICY = Policy()


class Work(BaseModel):
    x: int = 0

    @field_validator("x")
    @classmethod
    def _no_thirteen(cls, x: int) -> int:
        if x == 13:
            raise KeyError("a defect in somebody's validator")
        return x


class Out(BaseModel):
    x: int


def a_task(**changes: Any) -> Task:
    fields: dict[str, Any] = {
        "id": UUID(int=7), "status": TaskStatus.PROCESSING, "version": 2, "attempt": 1, "max_attempts": 3,
        "attempts": (), "progress": None, "result": None, "failure": None, "updated_at": NOW,
        "started_at": NOW, "finished_at": None, "expires_at": None, "run_at": None,
        "priority": TaskPriority.NORMAL, "ordering_key": None, "tags": (), "owner": "ada",
        "kind": "test", "title": "a title", "description": "of it", "input": {"x": 4}, "created_at": NOW,
    }  # fmt: skip
    return Task(**(fields | changes))


def an_attempt(
    function: Callable[..., Any],
    *,
    timeout: timedelta = HOUR,
    report: Callable[[Progress], None] = lambda _: None,
    policy: Policy = POLICY,
    failures: Sequence[type[Exception]] = (),
    **task: Any,
) -> Attempt:
    function.__annotations__.update(work=Work, task=TaskContext)
    function.__annotations__.setdefault("return", Out)
    found = declared(handler("test", timeout=timeout, failures=failures)(function))
    assert found is not None
    return Attempt(found, a_task(**task), report, FollowUps("ada", REGISTRY), RESOURCES, policy)


async def outcome_of(function: Callable[..., Any], **options: Any) -> Outcome:
    attempt = an_attempt(function, **options)
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        outcome = await attempt.run()
        await attempt.settled()
    return outcome


@pytest.fixture
def short_unwind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNWIND", AT_ONCE)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What holds up a thread; opened at the end, so that none is left behind."""
    gate = threading.Event()
    yield gate
    gate.set()


def raises(error: BaseException) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A coroutine function and a plain one that raise."""

    async def in_loop(work, task):  # type: ignore[no-untyped-def]
        raise error

    def in_thread(work, task):  # type: ignore[no-untyped-def]
        raise error

    return in_loop, in_thread


# ---------------------------------------------------------------- returns


async def test_what_a_handler_returns_is_the_result() -> None:
    async def returns(work: Any, task: Any) -> Out:
        return Out(x=work.x * 2)

    assert await outcome_of(returns) == Succeeded({"x": 8})


async def test_what_a_plain_function_returns_is_the_result() -> None:
    threads: list[threading.Thread] = []

    def returns(work: Any, task: Any) -> Out:
        threads.append(threading.current_thread())
        return Out(x=work.x * 2)

    assert await outcome_of(returns) == Succeeded({"x": 8})
    assert threads != [threading.current_thread()]
    assert all(thread.daemon for thread in threads), "one that never returns can't hold up the process's end"


async def test_a_handler_is_given_its_task() -> None:
    given: list[TaskContext] = []

    async def looks(work: Any, task: TaskContext) -> Out:
        given.append(task)
        assert not task.cancelled
        return Out(x=1)

    await outcome_of(looks, attempt=2, tags=("a", "b"))
    [context] = given
    assert (context.id, context.attempt) == (UUID(int=7), 2)
    assert (context.kind, context.title, context.description) == ("test", "a title", "of it")
    assert context.tags == ("a", "b")
    assert context.resource(bytes) == b"opened"


def asks(task: TaskContext) -> UUID:
    return task.create_task("reverse", {"input_data": "abc"}, title="next")


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_what_a_handler_asks_for_comes_with_its_result(where: str) -> None:
    ids: list[UUID] = []

    async def in_loop(work: Any, task: TaskContext) -> Out:
        ids.append(asks(task))
        return Out(x=1)

    def in_thread(work: Any, task: TaskContext) -> Out:
        ids.append(asks(task))
        return Out(x=1)

    outcome = await outcome_of(in_loop if where == "loop" else in_thread)
    assert isinstance(outcome, Succeeded)
    [follow_up] = outcome.follow_ups
    assert (follow_up.id, follow_up.owner, follow_up.kind) == (ids[0], "ada", "reverse")


async def test_a_follow_up_that_cannot_be_created_fails_the_task_and_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def misspells(work: Any, task: TaskContext) -> Out:
        task.create_task("reverse", {"imput_data": "abc"}, title="next")
        return Out(x=1)

    caplog.set_level("INFO")
    outcome = await outcome_of(misspells)
    assert isinstance(outcome, Failed)
    assert (outcome.failure.code, outcome.failure.retryable) == ("INVALID_FOLLOW_UP", False)
    assert outcome.failure.message.startswith("create_task('reverse'): input.input_data ")
    assert caplog.records[-1].exc_info, "the log shows where in the handler"


@pytest.mark.parametrize("place", [0, 1], ids=["loop", "thread"])
async def test_a_result_may_be_as_large_as_the_deployment_allows(place: int) -> None:
    async def in_loop(work: Any, task: Any) -> Out:
        return Out(x=123456)

    def in_thread(work: Any, task: Any) -> Out:
        return Out(x=123456)

    function = (in_loop, in_thread)[place]
    size = len('{"x":123456}')
    assert await outcome_of(function, policy=Policy(max_result_bytes=size)) == Succeeded({"x": 123456})
    outcome = await outcome_of(function, policy=Policy(max_result_bytes=size - 1))
    assert isinstance(outcome, Failed)
    assert outcome.failure.code == "RESULT_TOO_LARGE"


async def test_the_text_of_any_exception_is_shown_where_the_deployment_exposes_it() -> None:
    outcome = await outcome_of(raises(ValueError("secret"))[0], policy=Policy(expose_errors=True))
    assert isinstance(outcome, Retry)
    assert outcome.failure.message == "ValueError: secret"


async def test_a_declared_failure_keeps_its_fields() -> None:
    class OutOfStock(Exception):
        sku: str

        def __init__(self, sku: str) -> None:
            super().__init__(f"No {sku} is left.")
            self.sku = sku

    async def sells(work: Any, task: Any) -> Out:
        raise OutOfStock("X-7")

    outcome = await outcome_of(sells, failures=[OutOfStock])
    assert isinstance(outcome, Failed)
    assert outcome.failure == Failure(
        "OUT_OF_STOCK",
        "No X-7 is left.",
        retryable=False,
        detail={"__typename": "OutOfStock", "sku": "X-7", "message": "No X-7 is left."},
    )


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_progress_is_reported(where: str) -> None:
    reports: list[Progress] = []

    async def in_loop(work: Any, task: TaskContext) -> Out:
        task.progress(0.5, "half")
        return Out(x=1)

    def in_thread(work: Any, task: TaskContext) -> Out:
        task.progress(0.5, "half")
        return Out(x=1)

    await outcome_of(in_loop if where == "loop" else in_thread, report=reports.append)
    assert reports == [Progress(0.5, "half")]


async def test_context_variables_reach_a_thread() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    def reads(work: Any, task: Any) -> Out:
        return Out(x=variable.get())

    variable.set(42)
    assert await outcome_of(reads) == Succeeded({"x": 42})


@pytest.mark.parametrize("value", [None, 5, object()])
async def test_a_wrong_result_fails_the_task(value: Any) -> None:
    async def returns(work: Any, task: Any) -> Any:
        return value

    returns.__annotations__["return"] = Out
    outcome = await outcome_of(returns)
    assert isinstance(outcome, Failed)
    assert (outcome.failure.code, outcome.failure.retryable) == ("INVALID_RESULT", False)


# ---------------------------------------------------------------- raises


@pytest.mark.parametrize("place", [0, 1], ids=["loop", "thread"])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Permanent("no"), "PERMANENT"),
        (Retryable("busy"), "RETRYABLE"),
        (ValueError("secret"), "EXCEPTION"),
        (ExceptionGroup("some", [ValueError("secret")]), "EXCEPTION"),
        (SystemExit(3), "EXCEPTION"),
        (KeyboardInterrupt(), "EXCEPTION"),
        (GeneratorExit(), "EXCEPTION"),
        (asyncio.CancelledError(), "EXCEPTION"),
        (asyncio.InvalidStateError(), "EXCEPTION"),
        (TimeoutError("a request's"), "EXCEPTION"),
        (StopIteration(5), "EXCEPTION"),
        (StopAsyncIteration(), "EXCEPTION"),
        (MemoryError(), "EXCEPTION"),
        (RecursionError(), "EXCEPTION"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_whatever_a_handler_raises_is_an_outcome(error: BaseException, code: str, place: int) -> None:
    outcome = await outcome_of(raises(error)[place])
    assert isinstance(outcome, Retry | Failed)
    assert outcome.failure.code == code
    assert isinstance(outcome, Failed) == (code == "PERMANENT")
    assert "secret" not in outcome.failure.message


async def test_the_next_attempt_waits_no_longer_than_the_back_off() -> None:
    outcome = await outcome_of(raises(ValueError())[0], attempt=2, max_attempts=3)
    assert isinstance(outcome, Retry)
    assert timedelta(0) <= outcome.delay <= backoff(2)


@pytest.mark.parametrize(("attempt", "max_attempts", "tries"), [(7, 9, 1), (8, 9, 2), (4, 6, 1)])
async def test_the_back_off_begins_anew_with_a_redrive_and_passes_over_what_was_given_back(
    monkeypatch: pytest.MonkeyPatch, attempt: int, max_attempts: int, tries: int
) -> None:
    monkeypatch.setattr("random.random", lambda: 1.0)
    outcome = await outcome_of(raises(ValueError())[0], attempt=attempt, max_attempts=max_attempts)
    assert isinstance(outcome, Retry)
    assert outcome.delay == backoff(tries)


async def test_the_last_attempt_that_raises_fails_the_task() -> None:
    outcome = await outcome_of(raises(ValueError())[0], attempt=3, max_attempts=3)
    assert outcome == Failed(Failure("ATTEMPTS_EXHAUSTED", "The handler raised ValueError.", retryable=True))


async def test_a_handler_that_cancels_itself_is_an_exception_like_any_other() -> None:
    async def cancels(work: Any, task: Any) -> Out:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await asyncio.sleep(0)
        return Out(x=1)

    outcome = await outcome_of(cancels)
    assert isinstance(outcome, Retry)
    assert outcome.failure.message == "The handler raised CancelledError."


async def test_an_error_that_cannot_say_what_it_is_is_an_outcome_too() -> None:
    class Mute(Permanent):
        def __str__(self) -> str:
            raise RuntimeError

    assert await outcome_of(raises(Mute())[0]) == Failed(Failure("PERMANENT", "Mute", retryable=False))


# ---------------------------------------------------------------- input


async def test_input_that_the_handler_no_longer_accepts_fails_the_task() -> None:
    async def never_called(work: Any, task: Any) -> Out:
        pytest.fail("it was called")

    outcome = await outcome_of(never_called, input={"x": "many"})
    assert isinstance(outcome, Failed)
    assert (outcome.failure.code, outcome.failure.retryable) == ("INVALID_INPUT", False)
    assert outcome.failure.message.startswith("The handler no longer accepts this task's input: x: ")


async def test_a_model_that_breaks_over_the_input_is_an_exception_like_any_other() -> None:
    async def never_called(work: Any, task: Any) -> Out:
        pytest.fail("it was called")

    outcome = await outcome_of(never_called, input={"x": 13})
    assert isinstance(outcome, Retry)
    assert outcome.failure.message == "The handler raised KeyError."


# ---------------------------------------------------------------- time limit


async def test_a_handler_that_takes_too_long_is_cancelled_and_tried_again() -> None:
    cancelled = asyncio.Event()

    async def hangs(work: Any, task: TaskContext) -> Out:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert task.cancelled
            cancelled.set()
            raise
        return Out(x=1)

    outcome = await outcome_of(hangs, timeout=AT_ONCE)
    assert isinstance(outcome, Retry)
    assert outcome.failure == Failure(
        "TIMEOUT", "The handler did not finish within its 0.001 s.", retryable=True
    )
    assert cancelled.is_set()


async def test_a_last_attempt_that_takes_too_long_fails_the_task_as_timed_out() -> None:
    async def hangs(work: Any, task: Any) -> Out:
        await asyncio.Event().wait()
        return Out(x=1)

    outcome = await outcome_of(hangs, timeout=AT_ONCE, attempt=3)
    assert isinstance(outcome, Failed)
    assert outcome.failure.code == "TIMEOUT"


async def test_a_handler_that_cleans_up_is_waited_for() -> None:
    cleaned = asyncio.Event()

    async def hangs(work: Any, task: Any) -> Out:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()
        return Out(x=1)

    attempt = an_attempt(hangs, timeout=AT_ONCE)
    await attempt.run()
    assert cleaned.is_set(), "the outcome is recorded after it"


@pytest.mark.parametrize("late", ["returns", "raises", "exits"])
async def test_a_handler_that_ignores_its_cancellation_settles_later(short_unwind: None, late: str) -> None:
    gate = asyncio.Event()

    async def stubborn(work: Any, task: Any) -> Out:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        if late == "raises":
            raise ValueError
        if late == "exits":
            raise SystemExit
        return Out(x=1)

    attempt = an_attempt(stubborn, timeout=AT_ONCE)
    outcome = await attempt.run()
    assert isinstance(outcome, Retry)
    assert outcome.failure.code == "TIMEOUT"
    settled = asyncio.create_task(attempt.settled())
    await asyncio.sleep(0)
    assert not settled.done()
    gate.set()
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await settled


async def test_a_stop_while_a_late_handler_unwinds_leaves_it_timed_out(short_unwind: None) -> None:
    unwinding = asyncio.Event()

    async def slow_to_end(work: Any, task: Any) -> Out:
        try:
            await asyncio.Event().wait()
        finally:
            unwinding.set()
            await asyncio.sleep(0)
        return Out(x=1)

    attempt = an_attempt(slow_to_end, timeout=AT_ONCE)
    running = asyncio.create_task(attempt.run())
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await unwinding.wait()
        attempt.stop(StopReason.DRAINED)
        outcome = await running
    assert isinstance(outcome, Retry), "an attempt that was late is not given back"
    assert outcome.failure.code == "TIMEOUT"


async def test_a_thread_that_takes_too_long_has_an_outcome_but_settles_only_when_it_ends(
    gate: threading.Event,
) -> None:
    saw_the_end: list[bool] = []

    def hangs(work: Any, task: TaskContext) -> Out:
        gate.wait(LONGEST_WAIT_SECONDS)
        saw_the_end.append(task.cancelled)
        return Out(x=1)

    attempt = an_attempt(hangs, timeout=AT_ONCE)
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        outcome = await attempt.run()
        assert isinstance(outcome, Retry)
        assert outcome.failure.code == "TIMEOUT"
        settled = asyncio.create_task(attempt.settled())
        await asyncio.sleep(0)
        assert not settled.done()
        gate.set()
        await settled
    assert saw_the_end == [True]


# ---------------------------------------------------------------- stopped


@pytest.mark.parametrize(
    ("reason", "outcome"), [(StopReason.LEASE_LOST, Abandoned()), (StopReason.DRAINED, Released())]
)
async def test_a_stopped_attempt_has_the_outcome_of_its_reason(reason: StopReason, outcome: Outcome) -> None:
    started = asyncio.Event()

    async def hangs(work: Any, task: TaskContext) -> Out:
        started.set()
        await asyncio.Event().wait()
        return Out(x=1)

    attempt = an_attempt(hangs)
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        run = asyncio.create_task(attempt.run())
        await started.wait()
        attempt.stop(reason)
        assert await run == outcome
        await attempt.settled()


@pytest.mark.parametrize(
    ("reason", "outcome"), [(StopReason.LEASE_LOST, Abandoned()), (StopReason.DRAINED, Released())]
)
async def test_a_stopped_thread_is_told_so(
    gate: threading.Event, reason: StopReason, outcome: Outcome
) -> None:
    started = asyncio.Event()
    loop = asyncio.get_running_loop()
    told: list[bool] = []

    def polls(work: Any, task: TaskContext) -> Out:
        told.append(task.cancelled)
        loop.call_soon_threadsafe(started.set)
        gate.wait(LONGEST_WAIT_SECONDS)
        told.append(task.cancelled)
        return Out(x=1)

    attempt = an_attempt(polls)
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        run = asyncio.create_task(attempt.run())
        await started.wait()
        attempt.stop(reason)
        assert await run == outcome
        gate.set()
        await attempt.settled()
    assert told == [False, True]


@pytest.mark.parametrize("first", StopReason)
async def test_the_first_reason_counts(first: StopReason) -> None:
    async def hangs(work: Any, task: TaskContext) -> Out:
        await asyncio.Event().wait()
        return Out(x=1)

    attempt = an_attempt(hangs)
    attempt.stop(first)
    for other in StopReason:
        attempt.stop(other)
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        outcome = await attempt.run()
    assert outcome == (Abandoned() if first is StopReason.LEASE_LOST else Released())


async def test_a_handler_that_finished_before_it_was_stopped_has_succeeded() -> None:
    async def stops_itself(work: Any, task: TaskContext) -> Out:
        attempt.stop(StopReason.DRAINED)
        return Out(x=1)

    attempt = an_attempt(stops_itself)
    assert await attempt.run() == Succeeded({"x": 1})


async def test_a_stopped_handler_that_ignores_it_is_released_all_the_same(short_unwind: None) -> None:
    gate, started = asyncio.Event(), asyncio.Event()

    async def stubborn(work: Any, task: Any) -> Out:
        started.set()
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        return Out(x=1)

    attempt = an_attempt(stubborn)
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        run = asyncio.create_task(attempt.run())
        await started.wait()
        attempt.stop(StopReason.DRAINED)
        assert await run == Released()
        gate.set()
        await attempt.settled()


async def test_an_attempt_that_never_ran_has_settled() -> None:
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await an_attempt(raises(ValueError())[0]).settled()
