"""Tasks of one ordering key, against a real PostgreSQL: one after another, whatever becomes of them."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from taskql.ports import Claimed, LeasedElsewhere, NoHandler, NotDue
from taskql.queues import Queue, ordering_group
from taskql.task import Failure
from tests.contract.conftest import KIND, MINUTE, OWNER, Database
from tests.contract.orders import ordered, run, sendable

FAILURE = Failure("PERMANENT", "no", retryable=False)
GROUP = str(ordering_group(OWNER, "k"))


# ---------------------------------------------------------------- one at a time


async def test_of_a_key_only_the_first_is_sent(db: Database) -> None:
    first, *_ = await ordered(db, 3)
    other, *_ = await ordered(db, 2, key="other")
    assert set(await sendable(db)) == {first.id, other.id}
    assert await sendable(db) == []


async def test_what_is_sent_tells_its_place(db: Database) -> None:
    first, second = await ordered(db, 2)
    await db.dispatch.unblock()
    [dispatch] = await db.dispatch.reserve_due(10)
    assert (dispatch.task_id, dispatch.queue, dispatch.attempt) == (first.id, Queue.FIFO, 0)
    assert (dispatch.ordering_group, dispatch.ordering_number, dispatch.sends) == (GROUP, 1, 0)
    await db.dispatch.mark_sent([dispatch])
    await run(db, first)
    await db.dispatch.unblock()
    [dispatch] = await db.dispatch.reserve_due(10)
    assert (dispatch.task_id, dispatch.ordering_number) == (second.id, 2)


async def test_a_task_that_is_sent_again_says_so(db: Database) -> None:
    """By its attempt or by its sends: or the FIFO queue would take it for the same message."""
    [task] = await ordered(db, 1)
    seen = set()
    for accident in ("lost", "put off", "put off before it was marked", "retried", "rescued", "released"):
        await db.dispatch.unblock()
        [dispatch] = await db.dispatch.reserve_due(10)
        seen.add((dispatch.attempt, dispatch.sends))
        if accident != "put off before it was marked":
            await db.dispatch.mark_sent([dispatch])
        if accident == "lost":
            await db.change(task.id, "sent_at = now() - interval '1 hour'")
            await db.dispatch.raise_watermark(Queue.FIFO, datetime.now(UTC))
            assert await db.dispatch.resend_lost(MINUTE, 10) == 1
        elif accident.startswith("put off"):
            assert await db.leases.claim(task.id, ["other"], MINUTE) == NoHandler(KIND)
            await db.change(task.id, "available_at = now()")
        elif accident == "retried":
            await db.leases.retry((await db.claim(task.id)).lease, FAILURE, timedelta(0))
        elif accident == "rescued":
            await db.claim(task.id)
            await db.expire_lease(task.id)
            await db.dispatch.rescue_expired(10)
        else:
            await db.leases.release((await db.claim(task.id)).lease)
    assert len(seen) == 6


async def test_a_blocked_task_is_not_claimed(db: Database) -> None:
    first, second = await ordered(db, 2)
    assert isinstance(await db.leases.claim(second.id, [KIND], MINUTE), NotDue)
    assert isinstance(await db.leases.claim(first.id, [KIND], MINUTE), NotDue)
    await db.dispatch.unblock()
    assert isinstance(await db.leases.claim(first.id, [KIND], MINUTE), Claimed)
    assert isinstance(await db.leases.claim(first.id, [KIND], MINUTE), LeasedElsewhere)
    assert isinstance(await db.leases.claim(second.id, [KIND], MINUTE), NotDue)


async def test_only_the_groups_that_are_named_are_unblocked(db: Database) -> None:
    for key in "abc":
        await ordered(db, 2, key)
    wanted = [str(ordering_group(OWNER, key)) for key in "ab"]
    assert await db.dispatch.unblock([*wanted, "nobody's"]) == 2
    assert await db.dispatch.unblock([]) == 0
    assert {dispatch.ordering_group for dispatch in await db.dispatch.reserve_due(10)} == set(wanted)
    assert await db.dispatch.unblock() == 1


async def test_the_database_refuses_a_second_unblocked_task_of_a_group(db: Database) -> None:
    """The last line of defence, should a statement of ours ever be wrong."""
    first, second = await ordered(db, 2)
    await db.dispatch.unblock()
    with pytest.raises(asyncpg.UniqueViolationError, match="dispatch_one_at_a_time"):
        await db.change(second.id, "blocked = false")
    await run(db, first)
    await db.change(second.id, "blocked = false")


async def test_the_database_refuses_a_group_without_a_place(db: Database) -> None:
    [task] = await ordered(db, 1)
    for change in ("ordering_group = NULL", "ordering_number = NULL"):
        with pytest.raises(asyncpg.CheckViolationError, match="an_ordered_task_has_a_place"):
            await db.change(task.id, change)


# ---------------------------------------------------------------- what comes next


@pytest.mark.parametrize("end", ["complete", "fail", "cancel", "cancel running", "expire", "lose"])
async def test_the_next_goes_when_the_first_has_ended(db: Database, end: str) -> None:
    first, second, third = await ordered(db, 3)
    await db.dispatch.unblock([GROUP])
    if end in ("complete", "fail", "cancel running"):
        lease = (await db.claim(first.id)).lease
        assert await sendable(db) == []
        if end == "complete":
            await db.leases.complete(lease, {})
        elif end == "fail":
            await db.leases.fail(lease, FAILURE)
        else:
            await db.control.cancel(OWNER, first.id)
    elif end == "lose":
        for _ in range(first.max_attempts):
            await db.claim(first.id)
            await db.expire_lease(first.id)
            assert len(await db.dispatch.rescue_expired(10)) == 1
    elif end == "cancel":
        await db.control.cancel(OWNER, first.id)
    else:
        await db.change(first.id, "expires_at = now() - interval '1 second'")
        await db.dispatch.expire(10)
    assert (await db.task(first.id)).status.is_terminal
    assert await sendable(db) == [second.id]
    assert (await db.row(third.id) or {})["blocked"]


async def test_a_task_that_ends_while_it_waits_is_passed_over(db: Database) -> None:
    first, second, third, fourth = await ordered(db, 4)
    assert await sendable(db) == [first.id]
    await db.control.cancel(OWNER, second.id)
    await db.change(third.id, "expires_at = now() - interval '1 second'")
    await db.dispatch.expire(10)
    assert await sendable(db) == []
    await run(db, first)
    assert await sendable(db) == [fourth.id]


@pytest.mark.parametrize("hold", ["a later runAt", "a retry's delay", "a kind that no worker knows"])
async def test_a_task_that_waits_holds_its_key(db: Database, hold: str) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    first = await db.create(ordering_key="k", run_at=later if hold == "a later runAt" else None)
    second = await db.create(ordering_key="k")
    await db.dispatch.unblock()
    if hold == "a retry's delay":
        await db.leases.retry((await db.claim(first.id)).lease, FAILURE, timedelta(hours=1))
    elif hold == "a kind that no worker knows":
        await db.leases.claim(first.id, ["other"], MINUTE)
    assert await sendable(db) == []
    await db.change(first.id, "available_at = now()")
    assert await sendable(db) == [first.id]
    await run(db, first)
    assert await sendable(db) == [second.id]
