"""The testing helper: one attempt of a handler, judged as a worker judges it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from threading import current_thread, main_thread
from typing import Any
from uuid import UUID

import pytest

from taskql import Permanent, Retryable, TaskContext, handler
from taskql.errors import HandlerRefused
from taskql.testing import InvalidInput, Run, perform, perform_sync


@dataclass
class Order:
    amount: int
    note: str = "none"


@dataclass
class Receipt:
    text: str


@dataclass
class OutOfStock(Exception):
    """There is none left."""

    left: int


class Shop:
    name = "corner"


class NewShop(Shop):
    name = "mall"


@handler("order", max_attempts=3, failures=[OutOfStock])
async def order(work: Order, task: TaskContext) -> Receipt:
    task.progress(0.5, "packing")
    if work.amount > 7:
        raise OutOfStock(7)
    task.create_task("bill", {"amount": work.amount}, title="Bill it")
    return Receipt(f"{work.amount} {work.note}")


@handler("bill")
def bill(work: Order, task: TaskContext) -> Receipt:
    assert current_thread() is not main_thread()
    return Receipt(f"{task.title}, {task.description}, {task.tags}, {task.attempt}, {task.cancelled}")


@pytest.mark.parametrize("work", [Order(2), {"amount": 2}, {"amount": "2", "note": "none"}])
async def test_a_model_or_json_of_it_is_performed(work: object) -> None:
    run = await perform(order, work)
    assert run.result == Receipt("2 none")
    assert run.stored == {"text": "2 none"}
    assert [report.message for report in run.progress] == ["packing"]
    assert run.failure is None


async def test_what_create_task_would_refuse_is_refused_by_its_place() -> None:
    with pytest.raises(InvalidInput) as refused:
        await perform(order, {"amount": "some"}, title=" ", tags=[""])
    assert [path for path, _ in refused.value.issues] == [
        ("title",),
        ("tags", "0"),
        ("work", "order", "amount"),
    ]


async def test_follow_ups_are_those_of_a_success_alone() -> None:
    [task] = (await perform(order, Order(2))).follow_ups
    assert (task.kind, task.input, task.title) == ("bill", {"amount": 2, "note": "none"}, "Bill it")
    assert (await perform(order, Order(8))).follow_ups == ()


async def test_a_declared_failure_comes_with_its_fields() -> None:
    run = await perform(order, Order(8))
    assert run.failure is not None
    assert run.failure.detail == {"__typename": "OutOfStock", "left": 7, "message": "There is none left."}
    assert run.retry_after is None
    with pytest.raises(AssertionError, match=r"it failed: OUT_OF_STOCK: There is none left\.") as told:
        run.result  # noqa: B018
    assert isinstance(told.value.__cause__, OutOfStock)


def test_plain_functions_run_in_a_thread_and_see_their_task() -> None:
    run = perform_sync(bill, Order(1), title="T", description="D", tags=["a"], attempt=2, cancelled=True)
    assert run.result.text == "T, D, ('a',), 2, True"


def raising(error: Callable[[], BaseException], attempt: int = 1) -> Run:
    @handler("raises", max_attempts=2)
    def raises(task: TaskContext) -> Receipt:
        raise error()

    return perform_sync(raises, attempt=attempt)


@pytest.mark.parametrize(
    ("error", "attempt", "code", "message", "after"),
    [
        (lambda: Permanent("no"), 1, "PERMANENT", "no", None),
        (lambda: Retryable("later", after=timedelta(9)), 1, "RETRYABLE", "later", timedelta(9)),
        (lambda: Retryable("later"), 1, "RETRYABLE", "later", timedelta(seconds=1)),
        (lambda: KeyError("secret"), 1, "EXCEPTION", "The handler raised KeyError.", timedelta(seconds=1)),
        (lambda: KeyError("x"), 2, "ATTEMPTS_EXHAUSTED", "The handler raised KeyError.", None),
        (lambda: SystemExit(3), 1, "EXCEPTION", "The handler raised SystemExit.", timedelta(seconds=1)),
    ],
)
def test_what_it_raises_is_judged_as_a_worker_judges_it(
    error: Callable[[], BaseException], attempt: int, code: str, message: str, after: timedelta | None
) -> None:
    run = raising(error, attempt)
    assert run.failure is not None
    assert (run.failure.code, run.failure.message, run.retry_after) == (code, message, after)


@pytest.mark.parametrize(
    ("text", "code"), [("a\x00", "INVALID_RESULT"), ("x" * 70_000, "RESULT_TOO_LARGE"), (5, "INVALID_RESULT")]
)
def test_a_result_that_cannot_be_stored_fails_here_too(text: Any, code: str) -> None:
    @handler("returns")
    def returns(task: TaskContext) -> Receipt:
        return Receipt(text)

    failure = perform_sync(returns).failure
    assert failure is not None
    assert failure.code == code


def test_a_deployment_with_a_bucket_takes_larger_ones() -> None:
    @handler("returns")
    def returns(task: TaskContext) -> str:
        return "x" * 70_000

    assert perform_sync(returns, max_result_bytes=80_000).result == "x" * 70_000


async def test_resources_are_given_by_the_type_that_is_asked_for() -> None:
    @handler("shops")
    async def shops(task: TaskContext) -> Receipt:
        return Receipt(task.resource(Shop).name)

    assert (await perform(shops, resources={Shop: NewShop()})).result == Receipt("mall")
    failure = (await perform(shops)).failure
    assert failure is not None
    assert failure.message == "The handler raised LookupError."


async def test_handlers_of_other_modules_are_named_for_their_tasks() -> None:
    @handler("elsewhere")
    async def elsewhere(task: TaskContext) -> Receipt: ...  # type: ignore[empty-body]

    created: list[UUID] = []

    @handler("asks")
    async def asks(task: TaskContext) -> None:
        created.append(task.create_task("elsewhere", title="There"))

    assert (await perform(asks)).failure is not None
    [task] = (await perform(asks, handlers=[elsewhere])).follow_ups
    assert [task.id] == created


async def test_a_function_that_is_no_handler_is_refused() -> None:
    with pytest.raises(HandlerRefused, match=r"is no handler: put @handler"):
        await perform(perform)
