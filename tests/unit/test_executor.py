"""One message, from receipt to acknowledgement, on scripted ports."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from consumer.executor import REST
from taskql.errors import LeaseLost
from taskql.lifecycle import TaskStatus
from taskql.ports import (
    Claim,
    Claimed,
    Created,
    Dispatch,
    Finished,
    GivenUp,
    LeasedElsewhere,
    Message,
    NoHandler,
    NotDue,
    Revived,
    Unknown,
)
from taskql.queues import Queue
from taskql.task import Lease
from tests.unit.scripted import (
    AT_ONCE,
    AWAY,
    LONGEST_WAIT_SECONDS,
    NOTHING,
    Handlers,
    Outside,
    a_message,
    a_task,
    an_executor,
)


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def handlers(outside: Outside) -> Handlers:
    return Handlers(outside)


async def execute(outside: Outside, handlers: Handlers, message: Message | None = None) -> Message:
    message = message or a_message()
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await an_executor(outside, handlers).execute(message)
    return message


async def test_a_message_is_claimed_run_recorded_published_and_then_acknowledged(
    outside: Outside, handlers: Handlers
) -> None:
    handlers.gate.set()
    await execute(outside, handlers)
    assert [entry[0] for entry in outside.log] == ["claim", "publish", "complete", "publish", "acknowledge"]
    [(_, _, result, _)] = outside.named("complete")
    assert result == {"x": 1}


@pytest.mark.parametrize("miss", [Finished(), NotDue(), NoHandler("other")])
async def test_a_message_with_nothing_to_do_is_acknowledged(
    outside: Outside, handlers: Handlers, miss: Claim
) -> None:
    outside.claim_is = lambda _: miss
    message = await execute(outside, handlers)
    assert outside.named("acknowledge", "hide", "publish", "bury") == [("acknowledge", message)]


@pytest.mark.parametrize(
    ("remaining", "hidden"),
    [(timedelta(minutes=3), timedelta(minutes=3)), (NOTHING, REST), (AT_ONCE, REST)],
)
async def test_a_message_whose_task_is_leased_elsewhere_is_left_until_that_lease_ends(
    outside: Outside, handlers: Handlers, remaining: timedelta, hidden: timedelta
) -> None:
    outside.claim_is = lambda _: LeasedElsewhere(remaining)
    message = await execute(outside, handlers)
    assert outside.named("acknowledge", "hide", "publish", "bury") == [("hide", message, hidden)]


async def test_a_repeat_on_the_fifo_queue_does_not_hold_up_its_group_while_the_task_runs(
    outside: Outside, handlers: Handlers
) -> None:
    outside.claim_is = lambda _: LeasedElsewhere(timedelta(minutes=1))
    message = await execute(outside, handlers, a_message(queue=Queue.FIFO, ordering_group="group"))
    assert outside.named("acknowledge", "hide") == [("acknowledge", message)]


async def test_a_task_that_the_claim_gave_up_is_published_and_its_group_goes_on(
    outside: Outside, handlers: Handlers
) -> None:
    task = replace(a_task(uuid4()), status=TaskStatus.FAILED)
    outside.claim_is = lambda _: GivenUp(task)
    message = await execute(outside, handlers, a_message(task.id, queue=Queue.FIFO, ordering_group="group"))
    assert outside.named("publish", "wake", "acknowledge", "hide", "bury") == [
        ("publish", task.id),
        ("wake", ["group"]),
        ("acknowledge", message),
    ]


async def test_a_message_to_an_unknown_task_is_buried_and_acknowledged(
    outside: Outside, handlers: Handlers
) -> None:
    outside.claim_is = lambda _: Unknown()
    message = await execute(outside, handlers)
    [bury, acknowledge] = outside.named("bury", "acknowledge", "hide")
    assert bury[:2] == ("bury", message.body)
    assert bury[2].startswith("UNKNOWN_TASK")
    assert acknowledge == ("acknowledge", message)


async def test_a_foreign_message_is_buried_without_a_claim(outside: Outside, handlers: Handlers) -> None:
    message = await execute(outside, handlers, a_message(body="hello"))
    assert [entry[0] for entry in outside.log] == ["bury", "acknowledge"]
    assert outside.log[0][1] == message.body
    assert outside.log[0][2].startswith("FOREIGN_MESSAGE")


async def test_a_foreign_message_that_cannot_be_buried_is_not_acknowledged(
    outside: Outside, handlers: Handlers
) -> None:
    outside.fails("bury", AWAY)
    message = await execute(outside, handlers, a_message(body="hello"))
    assert outside.named("acknowledge", "hide") == [("hide", message, REST)]


async def test_an_outage_at_the_claim_hides_the_message_for_a_while(
    outside: Outside, handlers: Handlers
) -> None:
    outside.claim_is = lambda _: AWAY
    message = await execute(outside, handlers)
    assert outside.named("acknowledge", "hide") == [("hide", message, REST)]


@pytest.mark.parametrize("name", ["acknowledge", "hide"])
async def test_a_queue_that_is_away_harms_nothing(outside: Outside, handlers: Handlers, name: str) -> None:
    handlers.gate.set()
    outside.fails(name, AWAY)
    if name == "hide":
        outside.claim_is = lambda _: AWAY
    await execute(outside, handlers)
    assert len(outside.named(name)) == 1


async def test_a_lost_lease_is_swallowed_and_the_message_acknowledged(
    outside: Outside, handlers: Handlers
) -> None:
    handlers.gate.set()
    outside.fails("complete", LeaseLost("rescued"))
    message = await execute(outside, handlers)
    assert outside.named("acknowledge") == [("acknowledge", message)]
    assert len(outside.named("publish")) == 1, "of the claim; the outcome was thrown away"


async def test_an_outcome_that_can_never_be_recorded_leaves_the_message(
    outside: Outside, handlers: Handlers
) -> None:
    handlers.gate.set()
    outside.fails("complete", *[AWAY] * 3)
    message = a_message()
    await an_executor(outside, handlers, lease_for=NOTHING).execute(message)
    assert outside.named("acknowledge", "hide") == [("hide", message, REST)]


async def test_a_claim_that_succeeds_during_the_drain_is_released_at_once(
    outside: Outside, handlers: Handlers
) -> None:
    executor = an_executor(outside, handlers)
    executor.stop_attempts()
    message = a_message()
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await executor.execute(message)
    assert [entry[0] for entry in outside.log] == ["claim", "publish", "release", "publish", "acknowledge"]


async def test_what_was_created_with_the_outcome_is_sent_and_told(
    outside: Outside, handlers: Handlers
) -> None:
    handlers.gate.set()
    [first, second] = [a_task(uuid4()), a_task(uuid4(), ordering_key="account-7")]
    dispatch = Dispatch(first.id, Queue.NORMAL, 0)
    outside.created = [Created(first, dispatch), Created(second, None)]
    message = await execute(outside, handlers)
    assert outside.log[-5:] == [
        ("offer", [dispatch]), ("wake", [GROUP]), ("publish", first.id), ("publish", second.id),
        ("acknowledge", message),
    ]  # fmt: skip


# ---------------------------------------------------------------- ordering and redrive


def ordered(kind: str = "test") -> Callable[[UUID], Claimed]:
    """A claim of a task that runs in order with others."""
    return lambda task_id: Claimed(Lease(task_id, 1), a_task(task_id, kind, ordering_key="account-7"))


GROUP = a_task(uuid4(), ordering_key="account-7").ordering_group


@pytest.mark.parametrize(("kind", "outcome"), [("test", "complete"), ("slowThread", "retry")])
async def test_the_end_of_an_ordered_attempt_lets_the_next_of_its_group_go(
    outside: Outside, handlers: Handlers, kind: str, outcome: str
) -> None:
    handlers.gate.set()
    outside.claim_is = ordered(kind)
    execution = asyncio.create_task(execute(outside, handlers))
    await outside.until(lambda: bool(outside.named("acknowledge")))
    handlers.thread_gate.set()
    await execution
    steps = [entry[0] for entry in outside.named("complete", "retry", "wake", "acknowledge")]
    assert steps == [outcome, "wake", "acknowledge"]
    assert outside.named("wake") == [("wake", [GROUP])]


async def test_an_attempt_that_runs_in_no_order_wakes_nobody(outside: Outside, handlers: Handlers) -> None:
    handlers.gate.set()
    await execute(outside, handlers)
    assert outside.named("wake", "offer") == []


async def test_a_dead_letter_that_was_put_back_is_sent_at_once(outside: Outside, handlers: Handlers) -> None:
    task = a_task(uuid4())
    again = Dispatch(task.id, Queue.NORMAL, 3)
    outside.claim_is, outside.revived = lambda _: Finished(), Revived(task, again)
    message = await execute(outside, handlers, a_message(task.id, failed_attempt=3))
    assert outside.log[1:] == [
        ("redrive", task.id, 3), ("offer", [again]), ("publish", task.id), ("acknowledge", message),
    ]  # fmt: skip


async def test_an_ordered_dead_letter_that_was_put_back_waits_for_its_turn(
    outside: Outside, handlers: Handlers
) -> None:
    task = a_task(uuid4(), ordering_key="account-7")
    outside.claim_is, outside.revived = lambda _: Finished(), Revived(task, None)
    message = await execute(outside, handlers, a_message(task.id, queue=Queue.FIFO, failed_attempt=3))
    assert outside.log[1:] == [
        ("redrive", task.id, 3), ("wake", [GROUP]), ("publish", task.id), ("acknowledge", message),
    ]  # fmt: skip


async def test_a_dead_letter_whose_task_has_moved_on_changes_nothing(
    outside: Outside, handlers: Handlers
) -> None:
    outside.claim_is = lambda _: Finished()
    message = await execute(outside, handlers, a_message(failed_attempt=3))
    assert [entry[0] for entry in outside.log] == ["claim", "redrive", "acknowledge"]
    assert outside.log[-1] == ("acknowledge", message)
