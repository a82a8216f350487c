"""DispatchStore against a real PostgreSQL: everything unfinished is sent, rescued and sent again, once."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from taskql.errors import LeaseLost
from taskql.lifecycle import AttemptOutcome, TaskStatus
from taskql.message import decode
from taskql.ports import Claimed, Created, Dispatch
from taskql.queues import Queue
from taskql.task import Failure, Progress
from tests.contract.conftest import KIND, MINUTE, Database, new_task

QUEUE = Queue.NORMAL
UNRESERVED = "reserved_until = NULL"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
FAILURE = Failure("PERMANENT", "no", retryable=False)


async def unsent(db: Database, count: int = 1) -> list[UUID]:
    """New tasks that are due, whose reservation by their creator is over."""
    creations = await db.tasks.create([new_task(str(number)) for number in range(count)])
    ids = [creation.task.id for creation in creations if isinstance(creation, Created)]
    await db.sql(f"UPDATE dispatch SET {UNRESERVED} WHERE task_id = ANY($1)", ids)
    return ids


async def reserved(db: Database, limit: int = 100) -> list[UUID]:
    return [dispatch.task_id for dispatch in await db.dispatch.reserve_due(limit)]


async def field(db: Database, task_id: UUID, name: str) -> Any:
    row = await db.row(task_id)
    assert row is not None
    return row[name]


# ---------------------------------------------------------------- reserve


async def test_what_is_due_is_reserved_with_its_queue_and_attempt(db: Database) -> None:
    [task_id] = await unsent(db)
    assert await db.dispatch.reserve_due(10) == [Dispatch(task_id, QUEUE, 0)]


@pytest.mark.parametrize(
    "why_not",
    [
        "reserved_until = now() + interval '1 second'",
        "sent_at = now()",
        "available_at = now() + interval '1 second'",
        "lease_expires_at = now() + interval '1 minute'",
        "lease_expires_at = now() - interval '1 minute'",
        "blocked = true",
    ],
)
async def test_what_cannot_be_sent_now_is_not_reserved(db: Database, why_not: str) -> None:
    due, other = await unsent(db, 2)
    await db.change(other, why_not)
    assert await reserved(db) == [due]


async def test_what_is_reserved_is_not_reserved_again_until_that_ends(db: Database) -> None:
    [task_id] = await unsent(db)
    assert await reserved(db) == [task_id]
    assert await reserved(db) == []
    assert await field(db, task_id, "reserved_until") > await db.value("SELECT now()")
    await db.change(task_id, "reserved_until = now() - interval '1 millisecond'")
    assert await reserved(db) == [task_id]


async def test_the_oldest_are_reserved_first(db: Database) -> None:
    ids = await unsent(db, 6)
    for age, task_id in enumerate(ids):
        await db.change(task_id, f"available_at = now() - interval '{age} minutes'")
    assert set(await reserved(db, 2)) == set(ids[4:])
    assert set(await reserved(db, 2)) == set(ids[2:4])
    assert set(await reserved(db, 9)) == set(ids[:2])


async def test_reservers_at_a_time_share_the_work_without_overlap(db: Database) -> None:
    ids = await unsent(db, 200)
    shares: list[UUID] = []
    while any(found := await asyncio.gather(*(reserved(db, 20) for _ in range(4)))):
        shares += [task_id for share in found for task_id in share]
    assert sorted(shares) == sorted(ids)


async def test_rows_that_somebody_holds_are_skipped_not_waited_for(db: Database) -> None:
    ids = await unsent(db, 3)
    async with db.direct.transaction():
        await db.sql("SELECT * FROM dispatch WHERE task_id = $1 FOR UPDATE", ids[0])
        async with asyncio.timeout(60):
            assert set(await reserved(db)) == set(ids[1:])


# ---------------------------------------------------------------- mark_sent


async def test_what_was_sent_is_marked_so_and_counted(db: Database) -> None:
    ids = await unsent(db, 3)
    dispatches = await db.dispatch.reserve_due(10)
    await db.dispatch.mark_sent(dispatches[:2])
    for dispatch in dispatches[:2]:
        row = await db.row(dispatch.task_id)
        assert row is not None
        assert (row["sends"], row["reserved_until"]) == (1, None)
        assert row["sent_at"] is not None
    assert await field(db, dispatches[2].task_id, "sent_at") is None
    assert len(ids) == 3


async def test_marking_nothing_marks_nothing(db: Database) -> None:
    [task_id] = await unsent(db)
    await db.dispatch.mark_sent([])
    assert await field(db, task_id, "sent_at") is None


async def test_a_sending_that_its_own_claim_overtook_changes_nothing(db: Database) -> None:
    """The worker is quicker than the relay's mark: the message was received before it counted as sent."""
    [task_id] = await unsent(db)
    dispatches = await db.dispatch.reserve_due(1)
    claim = await db.claim(task_id)
    before = await db.row(task_id)
    await db.dispatch.mark_sent(dispatches)
    assert await db.row(task_id) == before
    await db.leases.retry(claim.lease, FAILURE, timedelta(0))
    before = await db.row(task_id)
    await db.dispatch.mark_sent(dispatches)
    assert await db.row(task_id) == before, "the next attempt has not been sent"
    assert await reserved(db) == [task_id]


async def test_the_mark_of_a_stale_attempt_does_not_hide_a_newer_reservation(db: Database) -> None:
    [task_id] = await unsent(db)
    stale = await db.dispatch.reserve_due(1)
    claim = await db.claim(task_id)
    await db.leases.release(claim.lease)
    fresh = await db.dispatch.reserve_due(1)
    assert [dispatch.attempt for dispatch in (*stale, *fresh)] == [0, 1]
    await db.dispatch.mark_sent(stale)
    assert await field(db, task_id, "sent_at") is None
    await db.dispatch.mark_sent(fresh)
    assert await field(db, task_id, "sent_at") is not None


async def test_a_sending_whose_task_was_put_off_meanwhile_changes_nothing(db: Database) -> None:
    [task_id] = await unsent(db)
    dispatches = await db.dispatch.reserve_due(1)
    await db.leases.claim(task_id, ["some other kind"], MINUTE)
    before = await db.row(task_id)
    await db.dispatch.mark_sent(dispatches)
    assert await db.row(task_id) == before


async def test_a_sending_whose_task_has_finished_changes_nothing(db: Database) -> None:
    [task_id] = await unsent(db)
    dispatches = await db.dispatch.reserve_due(1)
    claim = await db.claim(task_id)
    done = (await db.leases.complete(claim.lease, None)).event
    await db.dispatch.mark_sent([*dispatches, Dispatch(uuid4(), QUEUE, 0)])
    assert await db.row(task_id) is None
    assert (await db.task(task_id)).version == done.version


async def test_claims_and_marks_of_the_same_tasks_at_a_time_never_deadlock(db: Database) -> None:
    for _ in range(10):
        ids = await unsent(db, 20)
        dispatches = await db.dispatch.reserve_due(20)
        await asyncio.gather(
            db.dispatch.mark_sent(dispatches),
            db.dispatch.mark_sent(dispatches[::-1]),
            *(db.claim(task_id) for task_id in ids[::-1]),
        )


# ---------------------------------------------------------------- rescue


async def test_a_live_lease_is_left_alone(db: Database) -> None:
    claim = await db.claimed()
    assert await db.dispatch.rescue_expired(10) == []
    assert await db.task(claim.task.id) == claim.task


async def test_an_expired_lease_gives_its_task_the_next_attempt(db: Database) -> None:
    claim = await db.claimed()
    await db.leases.progress(claim.lease, Progress(0.5))
    await db.expire_lease(claim.task.id)
    [event] = await db.dispatch.rescue_expired(10)
    assert (event.id, event.status, event.version) == (claim.task.id, TaskStatus.PENDING, 4)
    assert (event.attempt, event.max_attempts, event.progress, event.failure) == (1, 3, None, None)
    [attempt] = event.attempts
    assert attempt.outcome is AttemptOutcome.LOST
    assert attempt.finished_at == event.updated_at
    assert attempt.failure is not None
    assert (attempt.failure.code, attempt.failure.retryable) == ("CRASHED", True)
    assert await db.task(claim.task.id) == claim.task.at(event)
    assert await reserved(db) == [claim.task.id]
    assert (await db.claim(claim.task.id)).lease.attempt == 2


async def test_an_expired_lease_of_the_last_attempt_fails_its_task(db: Database) -> None:
    claim = await db.claimed(max_attempts=1)
    await db.leases.progress(claim.lease, Progress(0.5))
    await db.expire_lease(claim.task.id)
    [event] = await db.dispatch.rescue_expired(10)
    assert (event.status, event.version) == (TaskStatus.FAILED, 4)
    assert event.finished_at == event.updated_at
    assert event.progress == Progress(0.5)
    assert event.failure is not None
    assert event.failure.code == "CRASHED"
    assert event.attempts[0].outcome is AttemptOutcome.LOST
    assert await db.row(claim.task.id) is None
    [letter] = await db.dispatch.reserve_dead_letters(10)
    assert (letter.task_id, letter.attempt) == (claim.task.id, 1)
    assert letter.reason.startswith("CRASHED: ")
    assert decode(letter.body or "") == claim.task.id


async def test_a_release_saves_the_last_attempt_from_failing(db: Database) -> None:
    claim = await db.claimed(max_attempts=1)
    await db.leases.release(claim.lease)
    await db.claim(claim.task.id)
    await db.expire_lease(claim.task.id)
    [event] = await db.dispatch.rescue_expired(10)
    assert event.status is TaskStatus.FAILED
    assert [attempt.outcome for attempt in event.attempts] == [AttemptOutcome.RELEASED, AttemptOutcome.LOST]


async def test_rescuers_at_a_time_rescue_each_task_once(db: Database) -> None:
    claims = [await db.claimed(max_attempts=1 + number % 2) for number in range(30)]
    await db.sql("UPDATE dispatch SET lease_expires_at = now() - interval '1 second'")
    rescues = await asyncio.gather(*(db.dispatch.rescue_expired(10) for _ in range(6)))
    rescues.append(await db.dispatch.rescue_expired(100))
    events = [event for rescue in rescues for event in rescue]
    assert sorted(event.id for event in events) == sorted(claim.task.id for claim in claims)
    assert all(event.version == 3 for event in events)
    assert await db.value("SELECT count(*) FROM dead_letters") == 15
    assert await db.value("SELECT count(*) FROM dispatch") == 15


async def test_no_more_are_rescued_than_asked_for(db: Database) -> None:
    for _ in range(5):
        await db.claimed()
    await db.sql("UPDATE dispatch SET lease_expires_at = now() - interval '1 second'")
    assert [len(await db.dispatch.rescue_expired(2)) for _ in range(4)] == [2, 2, 1, 0]


async def test_a_rescue_and_an_outcome_at_a_time_leave_one_of_the_two(db: Database) -> None:
    for _ in range(20):
        claim = await db.claimed()
        await db.expire_lease(claim.task.id)
        done, rescued = await asyncio.gather(
            db.leases.complete(claim.lease, {"outputData": "x"}),
            db.dispatch.rescue_expired(10),
            return_exceptions=True,
        )
        stored = await db.task(claim.task.id)
        assert stored.version == 3
        if isinstance(done, LeaseLost):
            assert isinstance(rescued, list)
            assert len(rescued) == 1
            assert stored.status is TaskStatus.PENDING
        else:
            assert rescued == []
            assert stored.status is TaskStatus.COMPLETED


async def test_a_heartbeat_in_time_keeps_the_rescuer_away(db: Database) -> None:
    claim = await db.claimed()
    await db.expire_lease(claim.task.id)
    await db.leases.extend(claim.lease, MINUTE)
    assert await db.dispatch.rescue_expired(10) == []


# ---------------------------------------------------------------- watermarks and lost messages


async def watermark(db: Database, queue: Queue = QUEUE) -> Any:
    return await db.value("SELECT sent_at FROM watermarks WHERE queue = $1", queue)


async def test_a_watermark_only_rises(db: Database) -> None:
    for minutes, expected in ((0, 0), (5, 5), (3, 5), (6, 6)):
        await db.dispatch.raise_watermark(QUEUE, NOON + minutes * MINUTE)
        assert await watermark(db) == NOON + expected * MINUTE


async def test_a_watermark_is_never_in_the_future(db: Database) -> None:
    ahead = datetime.now(UTC) + timedelta(days=1)
    for _ in range(2):  # stored anew, and raised
        await db.dispatch.raise_watermark(QUEUE, ahead)
        assert await db.value("SELECT sent_at <= now() FROM watermarks WHERE queue = $1", QUEUE)


async def test_each_queue_has_a_watermark_of_its_own(db: Database) -> None:
    await db.dispatch.raise_watermark(QUEUE, NOON)
    await db.dispatch.raise_watermark(Queue.LOW, NOON + MINUTE)
    assert (await watermark(db), await watermark(db, Queue.LOW)) == (NOON, NOON + MINUTE)


async def sent(db: Database, when: datetime, sends: int = 1) -> UUID:
    [task_id] = await unsent(db)
    await db.sql("UPDATE dispatch SET sent_at = $2, sends = $3 WHERE task_id = $1", task_id, when, sends)
    return task_id


@pytest.mark.parametrize("sends", range(10))
async def test_the_margin_doubles_with_each_sending_up_to_a_limit(db: Database, sends: int) -> None:
    margin = MINUTE * 2 ** min(max(sends - 1, 0), 6)
    lost = await sent(db, NOON - margin - timedelta(microseconds=1), sends)
    waiting = await sent(db, NOON - margin, sends)
    await db.dispatch.raise_watermark(QUEUE, NOON)
    assert await db.dispatch.resend_lost(MINUTE, 10) == 1
    assert await field(db, lost, "sent_at") is None
    assert await field(db, waiting, "sent_at") is not None
    assert await reserved(db) == [lost]


async def test_a_lost_message_is_sent_again_and_counted(db: Database) -> None:
    lost = await sent(db, NOON - 2 * MINUTE)
    await db.dispatch.raise_watermark(QUEUE, NOON)
    await db.dispatch.resend_lost(MINUTE, 10)
    await db.dispatch.mark_sent(await db.dispatch.reserve_due(10))
    assert await field(db, lost, "sends") == 2
    assert await db.dispatch.resend_lost(MINUTE, 10) == 0


async def test_nothing_is_lost_before_its_queue_has_a_watermark(db: Database) -> None:
    await sent(db, NOON)
    await db.dispatch.raise_watermark(Queue.LOW, NOON + timedelta(days=1))
    assert await db.dispatch.resend_lost(MINUTE, 10) == 0


async def test_what_is_leased_is_not_lost(db: Database) -> None:
    claim = await db.claimed()
    await db.sql("UPDATE dispatch SET sent_at = $1", NOON - timedelta(days=1))
    await db.dispatch.raise_watermark(QUEUE, NOON)
    assert await db.dispatch.resend_lost(MINUTE, 10) == 0
    assert await db.task(claim.task.id) == claim.task


async def test_what_was_never_sent_is_not_lost(db: Database) -> None:
    await unsent(db)
    await db.dispatch.raise_watermark(QUEUE, datetime.now(UTC))
    assert await db.dispatch.resend_lost(timedelta(0), 10) == 0


async def test_no_more_are_resent_than_asked_for_and_the_oldest_first(db: Database) -> None:
    ids = [await sent(db, NOON - number * timedelta(hours=1)) for number in range(1, 6)]
    await db.dispatch.raise_watermark(QUEUE, NOON)
    assert await db.dispatch.resend_lost(MINUTE, 2) == 2
    assert {task_id for task_id in ids if await field(db, task_id, "sent_at") is None} == set(ids[3:])
    assert [await db.dispatch.resend_lost(MINUTE, 2) for _ in range(3)] == [2, 1, 0]


async def test_resenders_at_a_time_resend_each_task_once(db: Database) -> None:
    for number in range(20):
        await sent(db, NOON - number * timedelta(hours=1) - 2 * MINUTE)
    await db.dispatch.raise_watermark(QUEUE, NOON)
    counts: Sequence[int] = await asyncio.gather(*(db.dispatch.resend_lost(MINUTE, 20) for _ in range(4)))
    assert sum(counts) == 20


# ---------------------------------------------------------------- dead letters


async def test_dead_letters_are_reserved_once_oldest_first_and_sent_once(db: Database) -> None:
    for number in range(5):
        await db.leases.bury(QUEUE, str(number), "FOREIGN_MESSAGE: no")
    first = await db.dispatch.reserve_dead_letters(2)
    assert {letter.body for letter in first} == {"0", "1"}
    rest = await db.dispatch.reserve_dead_letters(10)
    assert {letter.body for letter in rest} == {"2", "3", "4"}
    assert await db.dispatch.reserve_dead_letters(10) == []
    await db.dispatch.mark_dead_letters_sent([letter.id for letter in first])
    await db.sql("UPDATE dead_letters SET reserved_until = now() - interval '1 second'")
    assert {letter.body for letter in await db.dispatch.reserve_dead_letters(10)} == {"2", "3", "4"}


async def test_senders_of_dead_letters_at_a_time_share_them_without_overlap(db: Database) -> None:
    for number in range(30):
        await db.leases.bury(QUEUE, str(number), "FOREIGN_MESSAGE: no")
    shares = await asyncio.gather(*(db.dispatch.reserve_dead_letters(5) for _ in range(6)))
    letters = [letter for share in shares for letter in share]
    letters += await db.dispatch.reserve_dead_letters(30)
    assert sorted(int(letter.body or "") for letter in letters) == list(range(30))


async def test_a_dead_letter_outlives_its_task(db: Database) -> None:
    claim = await db.claimed()
    await db.leases.fail(claim.lease, FAILURE)
    await db.sql("DELETE FROM tasks WHERE id = $1", claim.task.id)
    assert [letter.task_id for letter in await db.dispatch.reserve_dead_letters(10)] == [claim.task.id]


async def test_a_claim_after_resending_uses_the_same_task(db: Database) -> None:
    """A resent message and its lost twin, which turns up after all: one of them finds nothing to do."""
    lost = await sent(db, NOON - 2 * MINUTE)
    await db.dispatch.raise_watermark(QUEUE, NOON)
    await db.dispatch.resend_lost(MINUTE, 10)
    dispatches = await db.dispatch.reserve_due(10)
    claim = await db.claim(lost)
    await db.dispatch.mark_sent(dispatches)
    await db.leases.complete(claim.lease, None)
    assert type(await db.leases.claim(lost, [KIND], MINUTE)).__name__ == "Finished"


# ---------------------------------------------------------------- retention


async def test_only_what_ended_long_ago_is_forgotten_a_batch_at_a_time(db: Database) -> None:
    old = [await failed_task(db) for _ in range(3)]
    recent, unfinished = await failed_task(db), (await unsent(db))[0]
    await db.sql("ALTER TABLE tasks DISABLE TRIGGER tasks_guard")
    await db.sql("UPDATE tasks SET finished_at = now() - interval '2 days' WHERE id = ANY($1)", old)
    await db.sql("ALTER TABLE tasks ENABLE TRIGGER tasks_guard")
    day = timedelta(days=1)
    assert [await db.dispatch.forget_older(day, 2) for _ in range(3)] == [2, 1, 0]
    kept = await db.value("SELECT array_agg(id) FROM tasks")
    assert set(kept) == {recent, unfinished}


async def test_dead_letters_are_forgotten_with_age_once_they_were_sent(db: Database) -> None:
    for number in range(2):
        await db.leases.bury(QUEUE, str(number), "FOREIGN_MESSAGE: no")
    await db.sql("UPDATE dead_letters SET sent_at = now() - interval '2 days' WHERE body = '0'")
    await db.dispatch.forget_older(timedelta(days=1), 10)
    assert await db.value("SELECT array_agg(body) FROM dead_letters") == ["1"]


async def failed_task(db: Database) -> UUID:
    [task_id] = await unsent(db)
    claim = await db.leases.claim(task_id, [KIND], MINUTE)
    assert isinstance(claim, Claimed)
    await db.leases.fail(claim.lease, FAILURE)
    return task_id
