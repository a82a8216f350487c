"""What a handler may ask for by `create_task`, and what it is told otherwise."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from taskql import TaskContext, handler
from taskql.creation import MAX_INPUT_BYTES, CreateRequest
from taskql.follow_ups import MAX_FOLLOW_UPS, FollowUps, PassedOn
from taskql.handler import declared
from taskql.queues import TaskPriority
from taskql.registry import Registry
from taskql.retry import BadFollowUp, describe
from tests.unit.contexts import a_context

EARLIER = datetime(2020, 1, 1, tzinfo=UTC)
LATER = datetime.now(UTC) + timedelta(days=1)


class Line(BaseModel):
    amount: int = Field(default=1, ge=1)


class Order(BaseModel):
    customer: str
    lines: list[Line] = []


@dataclass
class Out:
    x: int


@handler("order", max_attempts=7)
def order(work: Order, task: TaskContext) -> Out: ...  # type: ignore[empty-body]


@handler("tidyUp")
def tidy_up(task: TaskContext) -> Out: ...  # type: ignore[empty-body]


@handler("stranger")
def stranger(work: Order, task: TaskContext) -> Out: ...  # type: ignore[empty-body]


REGISTRY = Registry(found for each in (order, tidy_up) if (found := declared(each)))


class Here:
    """`create_task` in the worker's own process."""

    def __init__(self) -> None:
        self.follow_ups = FollowUps("ada", REGISTRY)
        self.create_task = a_context(create=self.follow_ups.create).create_task


class Apart:
    """`create_task` in a process of its own."""

    def __init__(self) -> None:
        self.requests: list[CreateRequest] = []
        self.create_task = a_context(create=PassedOn(self.requests.append).create).create_task


@pytest.fixture
def here() -> Here:
    return Here()


@pytest.mark.parametrize("function", [order, "order"])
@pytest.mark.parametrize("given", [Order(customer="eve", lines=[Line()]), {"customer": "eve", "lines": [{}]}])
def test_input_is_a_model_or_plain_json_and_completed_with_defaults(
    here: Here, function: Callable[..., Any] | str, given: object
) -> None:
    task_id = here.create_task(
        function, given, title=" next ", tags=["a", "a"], run_at=LATER, ordering_key="k"
    )
    [task] = here.follow_ups.tasks
    assert task.input == {"customer": "eve", "lines": [{"amount": 1}]}
    assert (task.id, task.owner, task.kind, task.title) == (task_id, "ada", "order", "next")
    assert (task.tags, task.run_at, task.ordering_key, task.max_attempts) == (("a",), LATER, "k", 7)
    assert task.idempotency_key is None


def test_a_handler_without_input_needs_none(here: Here) -> None:
    here.create_task(tidy_up, title="later", priority=TaskPriority.LOW)
    assert [(task.input, task.priority) for task in here.follow_ups.tasks] == [({}, TaskPriority.LOW)]


@pytest.mark.parametrize("where", [Here, Apart])
@pytest.mark.parametrize(
    ("function", "given", "fields", "told"),
    [
        (order, {"customer": "eve", "lines": [{"amount": 0}]}, {}, "'order'): input.lines.0.amount "),
        (order, None, {}, "input.customer "),
        ("order", {"customer": object()}, {}, "can't be made JSON"),
        ("order", {"customer": "a\0"}, {}, "input.customer holds a NUL"),
        ("order", {"customer": "\ud800"}, {}, "half of a surrogate pair"),
        ("order", {"customer": "x" * MAX_INPUT_BYTES}, {}, "bytes as JSON; the most is"),
        (order, {"customer": "eve"}, {"title": " "}, "create_task('order'): title is blank"),
        (order, {"customer": "eve"}, {"tags": "urgent"}, "tags is one text"),
        (order, {"customer": "eve"}, {"tags": ["x"] * 11}, "tags has 11 tags"),
        (order, {"customer": "eve"}, {"run_at": LATER.replace(tzinfo=None)}, "run_at has no time zone"),
        (order, {"customer": "eve"}, {"expires_at": EARLIER}, "expires_at has passed"),
        (order, {"customer": "eve"}, {"ordering_key": "k", "priority": "HIGH"}, "priority is HIGH"),
        (print, None, {}, "is no handler; pass one, or the name of its kind"),
        ("No Kind", None, {}, "'No Kind' is no handler"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_at_the_call(
    where: type[Here] | type[Apart], function: Any, given: object, fields: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=r"^create_task") as raised:
        where().create_task(function, given, **{"title": "next", **fields})
    assert told in str(raised.value)
    failure = describe(raised.value)
    assert (failure.code, failure.retryable) == ("INVALID_FOLLOW_UP", False)
    assert failure.message == str(raised.value)


def test_a_kind_that_no_worker_knows_is_refused(here: Here) -> None:
    with pytest.raises(BadFollowUp, match=r"there is no kind 'stranger' here;.* give order, tidyUp"):
        here.create_task(stranger, Order(customer="eve"), title="next")
    assert here.follow_ups.tasks == ()


def test_input_for_a_kind_that_a_process_does_not_know_is_checked_by_its_worker(here: Here) -> None:
    apart = Apart()
    apart.create_task("order", {"customer": 5}, title="next")
    [request] = apart.requests
    with pytest.raises(BadFollowUp, match=r"create_task\('order'\): input.customer "):
        here.follow_ups.take(request)


def test_a_follow_up_from_another_process_keeps_its_id(here: Here) -> None:
    apart = Apart()
    task_id = apart.create_task(order, Order(customer="eve"), title="next")
    here.follow_ups.take(apart.requests[0])
    [task] = here.follow_ups.tasks
    assert (task.id, task.input) == (task_id, {"customer": "eve", "lines": []})


@pytest.mark.parametrize("where", [Here, Apart])
def test_an_attempt_asks_for_a_hundred_tasks_at_most_and_their_ids_are_in_order(
    where: type[Here] | type[Apart],
) -> None:
    asked = where()
    ids = [asked.create_task(tidy_up, title="next") for _ in range(MAX_FOLLOW_UPS)]
    assert ids == sorted(set(ids))
    assert {task_id.version for task_id in ids} == {7}
    with pytest.raises(BadFollowUp, match="100 tasks and no more"):
        asked.create_task(tidy_up, title="one too many")


def test_all_threads_may_ask(here: Here) -> None:
    ids: list[UUID] = []

    def ask() -> None:
        ids.extend(here.create_task(tidy_up, title="next") for _ in range(10))

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {task.id for task in here.follow_ups.tasks} == set(ids)
    assert len(ids) == 80
