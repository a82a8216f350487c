"""LeaseStore against a real PostgreSQL: one claimer wins, and who lost the lease cannot write."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres import open_engine
from taskql.devstack import DevStack
from taskql.errors import LeaseLost
from taskql.lifecycle import AttemptOutcome, TaskStatus
from taskql.message import encode
from taskql.ports import (
    Claimed,
    Created,
    Finished,
    LeasedElsewhere,
    LeaseStore,
    NoHandler,
    NotDue,
    Unknown,
)
from taskql.queues import Queue
from taskql.task import (
    MAX_ATTEMPTS_KEPT,
    MAX_FAILURE_CHARS,
    Attempt,
    Failure,
    Lease,
    Progress,
    Task,
    TaskEvent,
)
from tests.contract.conftest import KIND, MINUTE, Database, clone, new_task

FAILURE = Failure("EXCEPTION", "Das ging schief 🚀", retryable=True)
NOW = timedelta(0)
TASKS_WATCHED = 40
LONGEST_WAIT_SECONDS = 60


async def complete(leases: LeaseStore, lease: Lease) -> TaskEvent:
    return (await leases.complete(lease, {"outputData": "stale"})).event


Write = Callable[[LeaseStore, Lease], Awaitable[TaskEvent | None]]
WRITES: dict[str, Write] = {
    "extend": lambda leases, lease: leases.extend(lease, MINUTE),
    "progress": lambda leases, lease: leases.progress(lease, Progress(0.5)),
    "complete": complete,
    "retry": lambda leases, lease: leases.retry(lease, FAILURE, NOW),
    "fail": lambda leases, lease: leases.fail(lease, FAILURE),
    "release": lambda leases, lease: leases.release(lease),
}
ENDS = {name: write for name, write in WRITES.items() if name not in ("extend", "progress")}

each_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
each_end = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())


async def everything(db: Database, task_id: UUID) -> tuple[Any, ...]:
    """All that is stored about a task."""
    rows = await db.sql("SELECT * FROM tasks WHERE id = $1", task_id)
    letters = await db.sql("SELECT * FROM dead_letters WHERE task_id = $1", task_id)
    return (*map(dict, rows), await db.row(task_id), *map(dict, letters))


# ---------------------------------------------------------------- claim


async def test_a_claim_begins_the_next_attempt(db: Database) -> None:
    before = await db.create()
    claim = await db.claim(before.id)
    task = claim.task
    assert claim.lease == Lease(before.id, 1)
    assert (task.status, task.attempt, task.version) == (TaskStatus.PROCESSING, 1, before.version + 1)
    assert task.started_at == task.updated_at
    assert task.started_at is not None
    assert task.started_at >= before.created_at
    assert task.attempts == (Attempt(1, task.started_at),)
    assert await db.task(before.id) == task


async def test_a_claim_leases_the_task_for_as_long_as_it_asks(db: Database) -> None:
    claim = await db.claimed()
    row = await db.row(claim.lease.task_id)
    assert row is not None
    assert timedelta(0) <= claim.task.updated_at + MINUTE - row["lease_expires_at"] < MINUTE
    assert row["attempt"] == 1
    assert row["reserved_until"] is None
    assert row["sent_at"] is not None, "a message brought it, so it was sent, whoever died before saying so"


async def test_of_twenty_claims_at_a_time_one_wins(db: Database) -> None:
    task = await db.create()
    claims = await asyncio.gather(*(db.leases.claim(task.id, [KIND], MINUTE) for _ in range(20)))
    assert sum(isinstance(claim, Claimed) for claim in claims) == 1
    assert sum(isinstance(claim, LeasedElsewhere) for claim in claims) == 19
    stored = await db.task(task.id)
    assert (stored.attempt, stored.version, len(stored.attempts)) == (1, 2, 1)


async def test_the_second_attempt_keeps_when_the_task_first_started(db: Database) -> None:
    first = await db.claimed()
    await db.leases.progress(first.lease, Progress(0.7, "most"))
    await db.leases.retry(first.lease, FAILURE, NOW)
    second = await db.claim(first.lease.task_id)
    assert second.lease.attempt == 2
    assert second.task.started_at == first.task.started_at
    assert second.task.attempts[1].started_at > first.task.attempts[0].started_at
    assert second.task.progress is None


# ---------------------------------------------------------------- misses


@pytest.mark.parametrize("outcome", ["completed", "failed"])
async def test_a_finished_task_is_missed_as_finished(db: Database, outcome: str) -> None:
    lease = (await db.claimed()).lease
    await (db.leases.complete(lease, None) if outcome == "completed" else db.leases.fail(lease, FAILURE))
    assert await db.leases.claim(lease.task_id, [KIND], MINUTE) == Finished()
    assert await db.leases.claim(lease.task_id, [], MINUTE) == Finished()


async def test_a_task_leased_elsewhere_is_missed_with_the_lease_that_remains(db: Database) -> None:
    task = await db.create()
    await db.claim(task.id, MINUTE)
    miss = await db.leases.claim(task.id, [KIND], MINUTE)
    assert isinstance(miss, LeasedElsewhere)
    assert timedelta(0) < miss.remaining <= MINUTE


async def test_an_expired_lease_that_nobody_rescued_yet_is_still_somebody_elses(db: Database) -> None:
    claim = await db.claimed()
    await db.expire_lease(claim.lease.task_id)
    miss = await db.leases.claim(claim.lease.task_id, [KIND], MINUTE)
    assert miss == LeasedElsewhere(timedelta(0))


async def test_a_task_that_is_not_due_is_missed_as_not_due(db: Database) -> None:
    task = await db.create()
    await db.change(task.id, "available_at = now() + interval '1 hour'")
    before = await everything(db, task.id)
    assert await db.leases.claim(task.id, [KIND], MINUTE) == NotDue()
    assert await everything(db, task.id) == before


@pytest.mark.parametrize("obstacle", ["blocked = true", "expires_at = now() - interval '1 second'"])
async def test_a_blocked_or_expired_task_is_missed_as_not_due(db: Database, obstacle: str) -> None:
    task = await db.create()
    await db.change(task.id, obstacle)
    assert await db.leases.claim(task.id, [KIND], MINUTE) == NotDue()


async def test_an_id_that_is_not_there_is_unknown(db: Database) -> None:
    assert await db.leases.claim(uuid4(), [KIND], MINUTE) == Unknown()


@pytest.mark.parametrize("kinds", [[], ["compute"]])
async def test_a_task_of_an_unknown_kind_is_put_off_for_another_worker(
    db: Database, kinds: list[str]
) -> None:
    task = await db.create()
    await db.change(task.id, "sent_at = now(), sends = 1, reserved_until = NULL")
    assert await db.leases.claim(task.id, kinds, MINUTE) == NoHandler(KIND)
    row = await db.row(task.id)
    assert row is not None
    assert row["sent_at"] is None
    assert row["available_at"] > await db.value("SELECT now()")
    assert await db.task(task.id) == task, "a watcher sees nothing of it"
    await db.change(task.id, "available_at = now()")
    assert [dispatch.task_id for dispatch in await db.dispatch.reserve_due(10)] == [task.id]


async def test_a_claim_of_many_kinds_takes_any_of_them(db: Database) -> None:
    task = await db.create()
    assert isinstance(await db.leases.claim(task.id, {"compute": 1, KIND: 2}.keys(), MINUTE), Claimed)


# ---------------------------------------------------------------- fences


@each_write
async def test_a_stale_attempt_cannot_write(db: Database, write: Write) -> None:
    stale = (await db.claimed()).lease
    await db.expire_lease(stale.task_id)
    await db.dispatch.rescue_expired(10)
    await db.claim(stale.task_id)
    before = await everything(db, stale.task_id)
    with pytest.raises(LeaseLost):
        await write(db.leases, stale)
    assert await everything(db, stale.task_id) == before


@each_write
async def test_a_rescued_attempt_cannot_write_before_the_next_begins(db: Database, write: Write) -> None:
    stale = (await db.claimed()).lease
    await db.expire_lease(stale.task_id)
    await db.dispatch.rescue_expired(10)
    before = await everything(db, stale.task_id)
    with pytest.raises(LeaseLost):
        await write(db.leases, stale)
    assert await everything(db, stale.task_id) == before


@each_write
@each_end
async def test_an_attempt_that_has_ended_cannot_write(db: Database, end: Write, write: Write) -> None:
    lease = (await db.claimed()).lease
    await end(db.leases, lease)
    before = await everything(db, lease.task_id)
    with pytest.raises(LeaseLost):
        await write(db.leases, lease)
    assert await everything(db, lease.task_id) == before


@each_write
async def test_an_attempt_that_never_was_cannot_write(db: Database, write: Write) -> None:
    running = (await db.claimed()).lease
    waiting = await db.create()
    before = await everything(db, running.task_id), await everything(db, waiting.id)
    for lease in (
        Lease(running.task_id, 0),
        Lease(running.task_id, 2),
        Lease(waiting.id, 0),
        Lease(waiting.id, 1),
        Lease(uuid4(), 1),
    ):
        with pytest.raises(LeaseLost):
            await write(db.leases, lease)
    assert (await everything(db, running.task_id), await everything(db, waiting.id)) == before


@each_write
async def test_a_worker_may_write_until_its_expired_lease_is_rescued(db: Database, write: Write) -> None:
    lease = (await db.claimed()).lease
    await db.expire_lease(lease.task_id)
    await write(db.leases, lease)


async def test_of_all_outcomes_at_a_time_exactly_one_is_recorded(db: Database) -> None:
    for _ in range(10):
        lease = (await db.claimed()).lease
        ends = list(ENDS.values()) * 3
        results = await asyncio.gather(*(end(db.leases, lease) for end in ends), return_exceptions=True)
        [event] = [result for result in results if isinstance(result, TaskEvent)]
        assert sum(isinstance(result, LeaseLost) for result in results) == len(ends) - 1
        stored = await db.task(lease.task_id)
        assert (stored.version, stored.status) == (event.version, event.status) == (3, event.status)


async def test_outcomes_heartbeats_progress_and_rescue_at_a_time_never_deadlock(db: Database) -> None:
    for _ in range(20):
        lease = (await db.claimed()).lease
        await db.expire_lease(lease.task_id)
        writes = [write(db.leases, lease) for write in WRITES.values() for _ in range(2)]
        results = await asyncio.gather(*writes, db.dispatch.rescue_expired(10), return_exceptions=True)
        unexpected = [
            result
            for result in results
            if isinstance(result, BaseException) and not isinstance(result, LeaseLost)
        ]
        assert unexpected == []


# ---------------------------------------------------------------- outcomes


async def test_complete_stores_the_result_and_ends_the_task(db: Database) -> None:
    claim = await db.claimed()
    result = {"outputData": "cba", "ä": [1.5, None, "🚀"]}
    event = (await db.leases.complete(claim.lease, result)).event
    assert (event.status, event.version, event.result) == (TaskStatus.COMPLETED, 3, result)
    assert event.finished_at == event.updated_at
    [attempt] = event.attempts
    assert attempt == Attempt(
        1, claim.task.attempts[0].started_at, event.finished_at, AttemptOutcome.COMPLETED, None
    )
    assert event.failure is None
    assert await db.task(claim.task.id) == claim.task.at(event)
    assert await db.row(claim.task.id) is None
    assert await db.row(claim.task.id, "dead_letters") is None


DEEP = json.loads("[" * 400 + "]" * 400)


@pytest.mark.parametrize(
    "result",
    [None, 0, False, "", [], {}, {"a": [{"b": None}]}, 10**30, -0.0, 1e-7, "é🚀\x7f", "x" * 60_000, DEEP],
    ids=lambda result: repr(result)[:20].encode("unicode_escape").decode(),
)
async def test_any_json_is_a_result(db: Database, result: Any) -> None:
    lease = (await db.claimed()).lease
    completion = await db.leases.complete(lease, result)
    assert completion.event.result == (await db.task(lease.task_id)).result == result


async def test_progress_stays_on_a_task_that_completes(db: Database) -> None:
    lease = (await db.claimed()).lease
    await db.leases.progress(lease, Progress(1.0, "all of it"))
    assert (await db.leases.complete(lease, None)).event.progress == Progress(1.0, "all of it")


async def test_fail_stores_the_failure_with_a_dead_letter(db: Database) -> None:
    claim = await db.claimed()
    event = await db.leases.fail(claim.lease, FAILURE)
    assert (event.status, event.version, event.failure) == (TaskStatus.FAILED, 3, FAILURE)
    assert event.finished_at == event.updated_at
    assert (event.attempts[0].outcome, event.attempts[0].failure) == (AttemptOutcome.FAILED, FAILURE)
    assert await db.row(claim.task.id) is None
    letter = await db.row(claim.task.id, "dead_letters")
    assert letter is not None
    assert letter["reason"] == f"{FAILURE.code}: {FAILURE.message}"
    assert (letter["body"], letter["queue"]) == (encode(claim.task.id), "normal")
    assert (letter["attempt"], letter["owner"]) == (1, claim.task.owner)
    assert (letter["at"], letter["sent_at"]) == (event.finished_at, None)


async def test_a_failure_without_its_dead_letter_is_not_recorded(db: Database) -> None:
    """Task, dispatch row and dead letter change in one statement: all of it or nothing."""
    claim = await db.claimed()
    before = await everything(db, claim.task.id)
    await db.sql("ALTER TABLE dead_letters ADD CONSTRAINT broken CHECK (false)")
    try:
        with pytest.raises(Exception, match="broken"):
            await db.leases.fail(claim.lease, FAILURE)
    finally:
        await db.sql("ALTER TABLE dead_letters DROP CONSTRAINT broken")
    assert await everything(db, claim.task.id) == before


async def test_a_retry_is_claimed_only_after_its_delay(db: Database) -> None:
    claim = await db.claimed()
    event = await db.leases.retry(claim.lease, FAILURE, timedelta(hours=1))
    assert (event.status, event.version, event.failure) == (TaskStatus.PENDING, 3, None)
    assert (event.attempt, event.max_attempts) == (1, 3)
    assert (event.attempts[0].outcome, event.attempts[0].failure) == (AttemptOutcome.RETRIED, FAILURE)
    row = await db.row(claim.task.id)
    assert row is not None
    assert timedelta(minutes=59) < row["available_at"] - event.updated_at <= timedelta(hours=1)
    assert (row["sent_at"], row["reserved_until"], row["lease_expires_at"]) == (None, None, None)
    assert await db.leases.claim(claim.task.id, [KIND], MINUTE) == NotDue()
    await db.change(claim.task.id, "available_at = available_at - interval '1 hour'")
    assert (await db.claim(claim.task.id)).lease.attempt == 2


async def test_a_release_gives_its_attempt_back(db: Database) -> None:
    claim = await db.claimed()
    await db.leases.progress(claim.lease, Progress(0.5))
    event = await db.leases.release(claim.lease)
    assert (event.status, event.attempt, event.max_attempts) == (TaskStatus.PENDING, 1, 4)
    assert (event.progress, event.failure) == (None, None)
    assert (event.attempts[0].outcome, event.attempts[0].failure) == (AttemptOutcome.RELEASED, None)
    again = await db.claim(claim.task.id)
    assert again.lease.attempt == 2
    assert again.task.max_attempts - again.task.attempt == claim.task.max_attempts - claim.task.attempt


async def test_a_retried_or_released_task_is_sent_again(db: Database) -> None:
    for end in (ENDS["retry"], ENDS["release"]):
        lease = (await db.claimed()).lease
        assert await db.dispatch.reserve_due(10) == []
        await end(db.leases, lease)
        assert [dispatch.task_id for dispatch in await db.dispatch.reserve_due(10)] == [lease.task_id]


async def test_the_last_twenty_attempts_are_kept_with_their_outcomes(db: Database) -> None:
    ends = [
        (ENDS["retry"], AttemptOutcome.RETRIED),
        (ENDS["release"], AttemptOutcome.RELEASED),
        (None, AttemptOutcome.LOST),
    ]
    task = await db.create(max_attempts=100)
    outcomes: list[AttemptOutcome] = []
    for number in range(1, 25):
        claim = await db.claim(task.id)
        assert claim.lease.attempt == number
        end, outcome = ends[number % 3]
        if end is None:
            await db.expire_lease(task.id)
            await db.dispatch.rescue_expired(1)
        else:
            await end(db.leases, claim.lease)
        outcomes.append(outcome)
        attempts = (await db.task(task.id)).attempts
        assert len(attempts) == min(number, MAX_ATTEMPTS_KEPT)
        assert [attempt.number for attempt in attempts] == list(range(1, number + 1))[-MAX_ATTEMPTS_KEPT:]
        assert [attempt.outcome for attempt in attempts] == outcomes[-MAX_ATTEMPTS_KEPT:]
    running = (await db.claim(task.id)).task.attempts
    assert len(running) == MAX_ATTEMPTS_KEPT
    assert (running[-1].number, running[-1].outcome, running[-1].finished_at) == (25, None, None)


async def test_the_longest_failure_text_is_kept_whole(db: Database) -> None:
    failure = Failure("PERMANENT", "🚀" * MAX_FAILURE_CHARS, retryable=False)
    assert (await db.leases.fail((await db.claimed()).lease, failure)).failure == failure


# ---------------------------------------------------------------- heartbeat and progress


async def test_a_heartbeat_extends_the_lease_and_changes_nothing_that_a_watcher_sees(db: Database) -> None:
    claim = await db.claimed()
    before = await db.row(claim.task.id)
    await db.leases.extend(claim.lease, timedelta(hours=1))
    after = await db.row(claim.task.id)
    assert before is not None
    assert after is not None
    assert after["lease_expires_at"] > before["lease_expires_at"] + timedelta(minutes=50)
    assert before == after | {"lease_expires_at": before["lease_expires_at"]}
    assert await db.task(claim.task.id) == claim.task


async def test_progress_is_a_version_of_its_own(db: Database) -> None:
    claim = await db.claimed()
    for version, progress in enumerate((Progress(0.1), Progress(0.5, "halb 🚀"), Progress(0.4, "")), start=3):
        event = await db.leases.progress(claim.lease, progress)
        assert (event.version, event.progress, event.status) == (version, progress, TaskStatus.PROCESSING)
        assert event.updated_at > claim.task.updated_at
        assert await db.task(claim.task.id) == claim.task.at(event)


async def test_versions_have_no_gaps_and_times_never_go_back(db: Database) -> None:
    seen: list[TaskEvent] = [await db.create()]
    task_id = seen[0].id
    for _ in range(2):
        claim = await db.claim(task_id)
        seen.append(claim.task)
        seen.append(await db.leases.progress(claim.lease, Progress(0.5)))
        seen.append(await db.leases.retry(claim.lease, FAILURE, NOW))
    claim = await db.claim(task_id)
    seen += [claim.task, (await db.leases.complete(claim.lease, None)).event]
    assert [event.version for event in seen] == list(range(1, len(seen) + 1))
    assert [event.updated_at for event in seen] == sorted(event.updated_at for event in seen)


# ---------------------------------------------------------------- what is not ours


@pytest.mark.parametrize("body", ["hello", "", "a\x00b", "\ud800", "x" * 300_000])
async def test_what_is_not_ours_is_kept_as_a_dead_letter(db: Database, body: str) -> None:
    await db.leases.bury(Queue.NORMAL, body, "FOREIGN_MESSAGE: the body is not JSON")
    [letter] = await db.dispatch.reserve_dead_letters(10)
    assert letter.reason == "FOREIGN_MESSAGE: the body is not JSON"
    assert letter.body == body.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert (letter.task_id, letter.attempt) == (None, None)


# ---------------------------------------------------------------- cost


@pytest.fixture
async def lone(stack: DevStack, template: str) -> AsyncIterator[Database]:
    """A database of its own that one connection writes to: others report what they wrote seconds later."""
    async with clone(stack, template) as url, open_engine(url, 1) as engine:
        direct = await asyncpg.connect(url)
        yield Database(engine, direct)
        await direct.close()


async def heap_only_share(db: Database, table: str) -> float:
    """How many of a table's updates were heap-only while tasks were claimed, kept alive and made progress."""
    tasks, leases, dispatch = db.tasks, db.leases, db.dispatch
    # Of a usual size: rows of a few bytes double while they run, and some must leave their full page.
    created = await tasks.create([new_task(description="x" * 500) for _ in range(TASKS_WATCHED)])
    due = [creation.dispatch for creation in created if isinstance(creation, Created)]
    await dispatch.mark_sent([each for each in due if each is not None])
    await flush_statistics(db.engine)
    await db.sql("SELECT pg_stat_reset_single_table_counters($1::regclass)", table)
    for creation in created:
        assert isinstance(creation, Created)
        claim = await leases.claim(creation.task.id, [KIND], MINUTE)
        assert isinstance(claim, Claimed)
        for step in range(2):
            await leases.extend(claim.lease, MINUTE)
            await leases.progress(claim.lease, Progress(step / 2))
    await flush_statistics(db.engine)
    [counts] = await db.sql(
        "SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot FROM pg_stat_user_tables WHERE relname = $1", table
    )
    assert counts["updates"] == 3 * TASKS_WATCHED
    return float(counts["hot"] / counts["updates"])


async def flush_statistics(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
        await connection.exec_driver_sql("SELECT 1")


async def test_what_changes_tasks_in_flight_is_heap_only(lone: Database) -> None:
    assert await heap_only_share(lone, "tasks") > 0.95


async def test_of_dispatch_rows_heartbeats_are_heap_only(lone: Database) -> None:
    """Of three updates two; by the claim the row enters the index of what is leased."""
    assert await heap_only_share(lone, "dispatch") > 0.95 * 2 / 3


async def test_an_index_on_status_would_be_noticed(lone: Database) -> None:
    await lone.sql("CREATE INDEX of_the_mutant ON tasks (status)")
    assert await heap_only_share(lone, "tasks") < 0.95


async def test_two_tasks_never_share_anything(db: Database) -> None:
    """A transition changes its own task alone."""
    others: list[Task] = [(await db.claimed()).task, await db.create()]
    for end in ENDS.values():
        await end(db.leases, (await db.claimed()).lease)
    assert [await db.task(other.id) for other in others] == others
