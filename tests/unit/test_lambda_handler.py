"""The Lambda handler on scripted ports: what it reports as failed, its order of work, and when it stops."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from consumer import lambda_handler
from consumer.lambda_handler import Answer, Container
from consumer.records import queue_names
from consumer.time_limit import TimeLimit
from taskql import TaskContext, handler
from taskql.bootstrap import LambdaServices, NoRelay
from taskql.errors import StartupError, Unavailable
from taskql.handler import declared
from taskql.lifecycle import TaskStatus
from taskql.message import encode
from taskql.policy import Policy
from taskql.ports import (
    Claim,
    Claimed,
    Completion,
    Dispatch,
    Finished,
    LeasedElsewhere,
    Message,
    Revived,
    Unknown,
)
from taskql.queues import Queue, TaskPriority
from taskql.registry import Registry
from taskql.settings import Settings
from taskql.task import JSON, Failure, Lease, NewTask, Task

NOW = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
SETTINGS = {
    "DATABASE_URL": "postgresql://user@db/taskql",
    "REDIS_URL": "redis://cache",
    "SQS_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks",
    "SQS_HIGH_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks-high",
    "SQS_LOW_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks-low",
    "SQS_FIFO_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/tasks.fifo",
    "SQS_DLQ_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/dead",
    "SQS_FIFO_DLQ_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/dead.fifo",
}
LONG = 60.0
BRIEF = 1.5
"""A time limit of which nine tenths are for the tasks."""
NOTHING = timedelta(0)


class Out(BaseModel):
    x: int


class Outside:
    """PostgreSQL, SQS and Redis as the handler sees them. `log` holds what happened, in order."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.kinds: dict[UUID, str] = {}
        self.claims: dict[UUID, Claim | Exception] = {}
        self.openings: list[Exception] = []
        self.opened = 0
        self.watermark_fails: Exception | None = None
        self.loops: set[int] = set()
        self.all_is_lost = False

    def named(self, *names: str) -> list[Any]:
        return [entry[1] for entry in self.log if entry[0] in names]

    @asynccontextmanager
    async def open(self, settings: Settings) -> AsyncIterator[LambdaServices]:
        self.opened += 1
        if self.openings:
            raise self.openings.pop(0)
        yield LambdaServices(
            registry=Registry(found for each in HANDLERS if (found := declared(each))),
            leases=self,  # type: ignore[arg-type]  # as far as it is needed
            receiver=self,  # type: ignore[arg-type]
            events=self,
            outbox=NoRelay(),
            raise_watermark=self.raise_watermark,
            flush=self.flush,
            policy=Policy(),
            resources={},
            results=None,
        )

    # the receiver

    async def acknowledge(self, message: Message) -> None:
        self.log.append(("delete", message.receipt))

    async def hide(self, message: Message, duration: timedelta) -> None:
        self.log.append(("hide", (message.receipt, duration)))

    # the lease store

    async def claim(self, task_id: UUID, kinds: Collection[str], lease_for: timedelta) -> Claim:
        self.loops.add(id(asyncio.get_running_loop()))
        self.log.append(("claim", task_id))
        found = self.claims.get(task_id) or Claimed(Lease(task_id, 1), a_task(task_id, self.kinds))
        if isinstance(found, Exception):
            raise found
        return found

    async def extend(self, lease: Lease, lease_for: timedelta) -> None: ...

    async def held(self, leases: Collection[Lease]) -> set[Lease]:
        return set() if self.all_is_lost else set(leases)

    async def complete(
        self, lease: Lease, result: JSON, location: str | None = None, follow_ups: Sequence[NewTask] = ()
    ) -> Completion:
        self.log.append(("complete", lease.task_id))
        return Completion(a_task(lease.task_id, self.kinds))

    async def retry(self, lease: Lease, failure: Failure, delay: timedelta) -> Task:
        self.log.append(("retry", (lease.task_id, failure.code)))
        return a_task(lease.task_id, self.kinds)

    async def release(self, lease: Lease) -> Task:
        self.log.append(("release", lease.task_id))
        return a_task(lease.task_id, self.kinds)

    async def redrive(self, task_id: UUID, failed_attempt: int, max_attempts: object) -> Revived | None:
        self.log.append(("redrive", (task_id, failed_attempt)))
        return Revived(a_task(task_id, self.kinds), Dispatch(task_id, Queue.NORMAL, failed_attempt))

    async def bury(self, queue: Queue, body: str, reason: str) -> None:
        self.log.append(("bury", body))

    # the events

    def publish(self, event: object) -> None:
        self.log.append(("publish", None))

    def forget(self, task_id: UUID) -> None: ...

    async def flush(self) -> None:
        self.log.append(("flush", None))

    # upkeep's

    async def raise_watermark(self, queue: Queue, sent_at: datetime) -> None:
        if self.watermark_fails:
            raise self.watermark_fails
        self.log.append(("watermark", (queue, sent_at)))

    # records for the handler

    def record(self, kind: str = "quick", queue: str = "tasks", **changes: Any) -> dict[str, Any]:
        task_id = uuid4()
        self.kinds[task_id] = kind
        group = {"MessageGroupId": "a group"} if queue.endswith(".fifo") else {}
        return {
            "messageId": str(task_id),
            "receiptHandle": f"receipt of {task_id}",
            "body": encode(task_id),
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": str(int(NOW.timestamp() * 1000)),
                **group,
                **changes.pop("attributes", {}),
            },
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:eu-west-1:123456789012:{queue}",
            **changes,
        }

    def records(self, count: int, **changes: Any) -> list[dict[str, Any]]:
        return [self.record(**changes) for _ in range(count)]


def a_task(task_id: UUID, kinds: dict[UUID, str]) -> Task:
    return Task(
        id=task_id, status=TaskStatus.PROCESSING, version=2, attempt=1, max_attempts=3, attempts=(),
        progress=None, result=None, failure=None, expires_at=None, updated_at=NOW, started_at=NOW,
        finished_at=None, owner="ada", kind=kinds[task_id], title="a title", description=None, input={},
        priority=TaskPriority.NORMAL, ordering_key=None, tags=(), run_at=None, created_at=NOW,
    )  # fmt: skip


@handler("quick")
async def quick(task: TaskContext) -> Out:
    return Out(x=1)


@handler("late")
async def late(task: TaskContext) -> Out:
    """Outlast any time limit, begun late or not."""
    await asyncio.Event().wait()
    return Out(x=1)


@handler("short")
async def short(task: TaskContext) -> Out:
    await asyncio.sleep(0.3)
    return Out(x=1)


RUNNING = {"now": 0, "most": 0}


@handler("counted")
async def counted(task: TaskContext) -> Out:
    RUNNING["now"] += 1
    RUNNING["most"] = max(RUNNING.values())
    await asyncio.sleep(0.02)
    RUNNING["now"] -= 1
    return Out(x=1)


THREAD_MAY_END = Event()


@handler("endlessThread", timeout=timedelta(milliseconds=1))
def endless_thread(task: TaskContext) -> Out:
    THREAD_MAY_END.wait(20)
    return Out(x=1)


HANDLERS: list[Callable[..., Any]] = [quick, late, short, counted, endless_thread]


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def container(outside: Outside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Container]:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.chdir(tmp_path)
    os.environ.update(SETTINGS)
    monkeypatch.setattr(lambda_handler, "set_up_logging", lambda *_: None)
    container = Container(outside.open)
    yield container
    container.close()


def call(container: Container, records: list[dict[str, Any]], seconds: float = LONG) -> list[str]:
    """The ids that are reported as failed."""
    return failures(container.handle({"Records": records}, seconds))


def failures(answer: Answer) -> list[str]:
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]


def ids(records: list[dict[str, Any]]) -> list[str]:
    return [record["messageId"] for record in records]


def task_ids(records: list[dict[str, Any]]) -> list[UUID]:
    return [UUID(record["messageId"]) for record in records]


# ---------------------------------------------------------------- what is reported


def test_a_batch_that_is_done_reports_nothing_and_deletes_nothing_itself(
    container: Container, outside: Outside
) -> None:
    records = outside.records(10)
    assert call(container, records) == []
    assert set(outside.named("complete")) == set(task_ids(records))
    assert outside.named("delete", "hide") == []


def test_one_bad_message_of_ten_fails_alone(
    container: Container, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    records = outside.records(10)
    outside.claims[task_ids(records)[4]] = RuntimeError("nobody foresaw this")
    assert call(container, records) == [ids(records)[4]]
    assert len(outside.named("complete")) == 9
    assert "nobody foresaw this" in caplog.text


def test_while_postgresql_is_away_a_message_rests_and_comes_again(
    container: Container, outside: Outside
) -> None:
    [record] = outside.records(1)
    outside.claims[UUID(record["messageId"])] = Unavailable("away")
    assert call(container, [record]) == [record["messageId"]]
    assert outside.named("hide") == [(record["receiptHandle"], timedelta(seconds=1))]


def test_a_message_that_is_not_ours_is_buried_and_not_reported(
    container: Container, outside: Outside
) -> None:
    foreign = outside.record(body="not ours")
    unknown = outside.record()
    outside.claims[UUID(unknown["messageId"])] = Unknown()
    assert call(container, [foreign, unknown]) == []
    assert set(outside.named("bury")) == {"not ours", unknown["body"]}


def test_a_duplicate_is_not_reported_and_one_leased_elsewhere_comes_when_that_lease_ends(
    container: Container, outside: Outside
) -> None:
    done, leased = outside.records(2)
    outside.claims[UUID(done["messageId"])] = Finished()
    outside.claims[UUID(leased["messageId"])] = LeasedElsewhere(timedelta(seconds=40))
    assert call(container, [done, leased]) == [leased["messageId"]]
    assert outside.named("hide") == [(leased["receiptHandle"], timedelta(seconds=40))]


def test_a_dead_letter_that_was_put_back_runs_its_task_again(container: Container, outside: Outside) -> None:
    attempt = {"attempt": {"dataType": "Number", "stringValue": "3"}}
    forged = {"attempt": {"dataType": "String", "stringValue": "three"}}
    letter = outside.record(messageAttributes=attempt)
    others = [outside.record(messageAttributes=forged), outside.record(messageAttributes=None)]
    outside.claims = dict.fromkeys(task_ids([letter, *others]), Finished())
    assert call(container, [letter, *others]) == []
    assert outside.named("redrive") == [(UUID(letter["messageId"]), 3)]


def test_a_task_that_is_cancelled_stops_and_is_not_reported(container: Container, outside: Outside) -> None:
    outside.all_is_lost = True
    assert call(container, outside.records(1, kind="late")) == []
    assert outside.named("complete", "retry", "release") == []


def test_a_record_of_a_foreign_queue_is_reported_and_logged(
    container: Container, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    foreign, ours = outside.record(queue="someone-elses"), outside.record()
    assert call(container, [foreign, ours]) == [foreign["messageId"]]
    assert "arn:aws:sqs:eu-west-1:123456789012:someone-elses" in caplog.text
    assert outside.named("claim") == task_ids([ours])


@pytest.mark.parametrize("broken", ["body", "receiptHandle", "attributes"])
def test_a_record_that_lacks_something_is_reported(
    container: Container, outside: Outside, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    record, sound = outside.records(2)
    del record[broken]
    assert call(container, [record, sound]) == [record["messageId"]]
    assert broken in caplog.text


@pytest.mark.parametrize(
    "event", [{}, None, [], "text", {"Records": None}, {"Records": []}, {"Records": [{"s3": {}}, 1]}]
)
def test_an_event_without_messages_opens_the_services_and_is_answered(
    container: Container, outside: Outside, event: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert container.handle(event, LONG) == {"batchItemFailures": []}
    assert outside.opened == 1
    assert "no record of SQS" in caplog.text


def test_what_a_heartbeat_has_hidden_is_deleted_at_once(container: Container, outside: Outside) -> None:
    os.environ["TASKQL_HEARTBEAT_SECONDS"] = "0.1"
    beating, fast = outside.record("short"), outside.record()
    assert call(container, [beating, fast]) == []
    assert outside.named("delete") == [beating["receiptHandle"]]


def test_every_queue_is_known_by_its_name() -> None:
    names = queue_names(
        {queue: SETTINGS[f"SQS_{queue.name}_QUEUE_URL".replace("NORMAL_", "")] for queue in Queue}
    )
    assert names == {
        "tasks-high": Queue.HIGH,
        "tasks": Queue.NORMAL,
        "tasks-low": Queue.LOW,
        "tasks.fifo": Queue.FIFO,
    }


# ---------------------------------------------------------------- order


def test_after_a_failure_nothing_of_its_group_begins_and_all_of_it_is_reported(
    container: Container, outside: Outside
) -> None:
    a = outside.records(4, queue="tasks.fifo")
    b = outside.records(2, queue="tasks.fifo", attributes={"MessageGroupId": "another"})
    outside.claims[task_ids(a)[1]] = RuntimeError("fails")
    assert call(container, [a[0], b[0], a[1], a[2], b[1], a[3]]) == ids(a[1:])
    assert set(outside.named("complete")) == set(task_ids([a[0], *b]))
    assert set(outside.named("claim")).isdisjoint(task_ids(a[2:]))
    assert set(outside.named("hide")) == {(each["receiptHandle"], NOTHING) for each in a[2:]}


def test_a_group_runs_in_order_and_groups_run_side_by_side(container: Container, outside: Outside) -> None:
    a = outside.records(3, kind="counted", queue="tasks.fifo")
    b = outside.records(3, kind="counted", queue="tasks.fifo", attributes={"MessageGroupId": "another"})
    RUNNING.update(now=0, most=0)
    assert call(container, [*a, *b]) == []
    assert RUNNING["most"] == 2
    completed = outside.named("complete")
    assert [each for each in completed if each in task_ids(a)] == task_ids(a)
    assert [each for each in completed if each in task_ids(b)] == task_ids(b)


def test_groups_of_a_standard_queue_promise_no_order(container: Container, outside: Outside) -> None:
    records = outside.records(3, attributes={"MessageGroupId": "a tenant"})
    outside.claims[task_ids(records)[0]] = RuntimeError("fails")
    assert call(container, records) == ids(records[:1])


def test_no_more_run_at_a_time_than_the_settings_say(container: Container, outside: Outside) -> None:
    os.environ["TASKQL_CONCURRENCY"] = "3"
    RUNNING.update(now=0, most=0)
    assert call(container, outside.records(10, kind="counted")) == []
    assert RUNNING["most"] == 3


# ---------------------------------------------------------------- the time limit


def test_near_its_end_it_gives_back_what_runs_and_what_has_not_begun(
    container: Container, outside: Outside
) -> None:
    os.environ["TASKQL_CONCURRENCY"] = "1"
    first, second, third, fourth = (outside.record(kind) for kind in ("short", "late", "quick", "quick"))
    assert call(container, [first, second, third, fourth], BRIEF) == ids([third, fourth])
    assert outside.named("complete") == task_ids([first])
    assert outside.named("release") == task_ids([second])
    assert set(outside.named("hide")) == {(each["receiptHandle"], NOTHING) for each in (third, fourth)}
    assert call(container, [third, fourth]) == []  # the same container works again


def test_a_task_that_needs_more_than_a_whole_invocation_runs_into_its_time_limit(
    container: Container, outside: Outside, caplog: pytest.LogCaptureFixture
) -> None:
    """Given back, it would be tried for ever."""
    record = outside.record("late")
    assert call(container, [record], BRIEF) == []
    assert outside.named("retry") == [(UUID(record["messageId"]), "TIMEOUT")]
    assert "leaves a task 1.2 s: less than handlers ask for (quick, late, short, counted)" in caplog.text


def test_with_no_time_left_nothing_begins(container: Container, outside: Outside) -> None:
    records = outside.records(3)
    assert call(container, records, 0.0) == ids(records)
    assert outside.named("claim") == []


def test_a_thread_that_does_not_end_does_not_hold_the_answer(container: Container, outside: Outside) -> None:
    record = outside.record("endlessThread")
    began = time.monotonic()
    try:
        assert call(container, [record], BRIEF) == []
    finally:
        THREAD_MAY_END.set()
    assert time.monotonic() - began < BRIEF
    assert outside.named("retry") == [(UUID(record["messageId"]), "TIMEOUT")]


@pytest.mark.parametrize(("seconds", "margin"), [(900.0, 10.0), (100.0, 10.0), (30.0, 3.0)])
async def test_the_margin_is_ten_seconds_and_less_where_time_is_short(seconds: float, margin: float) -> None:
    now = asyncio.get_running_loop().time()
    limit = TimeLimit.after(seconds)
    assert limit.stop - now == pytest.approx(seconds - margin, abs=0.1)
    assert limit.stop < limit.leave < limit.answer < now + seconds + 0.1
    assert limit.longest == timedelta(seconds=seconds - 2 * margin)


# ---------------------------------------------------------------- the container


def test_the_services_are_opened_once_on_one_loop(container: Container, outside: Outside) -> None:
    for _ in range(3):
        assert call(container, outside.records(2)) == []
    assert outside.opened == 1
    assert len(outside.loops) == 1


def test_an_opening_that_failed_is_tried_again(container: Container, outside: Outside) -> None:
    outside.openings = [StartupError("PostgreSQL could not be reached"), Unavailable("away")]
    records = outside.records(1)
    with pytest.raises(StartupError, match="could not be reached"):
        call(container, records)
    with pytest.raises(Unavailable):
        call(container, records)
    assert call(container, records) == []
    assert outside.opened == 3


def test_a_setting_that_is_missing_is_named(container: Container, outside: Outside) -> None:
    del os.environ["SQS_FIFO_QUEUE_URL"]
    with pytest.raises(StartupError, match="SQS_FIFO_QUEUE_URL is not set"):
        call(container, outside.records(1))


def test_before_it_answers_events_are_flushed_and_the_watermarks_are_raised(
    container: Container, outside: Outside
) -> None:
    times = [NOW, NOW + timedelta(seconds=2), NOW + timedelta(seconds=1)]
    stamps = [{"SentTimestamp": str(int(each.timestamp() * 1000))} for each in times]
    records = [outside.record(attributes=stamp) for stamp in stamps]
    records.append(outside.record(queue="tasks-low"))
    assert call(container, records) == []
    assert [entry[0] for entry in outside.log[-3:]] == ["flush", "watermark", "watermark"]
    assert outside.named("watermark") == [(Queue.NORMAL, times[1]), (Queue.LOW, NOW)]


@pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("nobody foresaw this")])
def test_a_watermark_that_is_not_written_fails_no_message(
    container: Container, outside: Outside, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    outside.watermark_fails = error
    assert call(container, outside.records(2)) == []
    assert "how far the queues are was not written" in caplog.text


def test_the_log_s_level_and_format_are_set(
    container: Container, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[tuple[str, str]] = []
    monkeypatch.setattr(lambda_handler, "set_up_logging", lambda *how: chosen.append(how))
    os.environ |= {"LOG_LEVEL": "debug", "TASKQL_LOG_FORMAT": "json"}
    call(container, outside.records(1))
    assert chosen == [("debug", "json")]
