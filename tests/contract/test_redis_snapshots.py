"""SnapshotCache as it is written, in a real Valkey: the newest version wins, and none lasts too long."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from taskql.adapters.redis import RedisEventSink
from taskql.adapters.redis import questions as questions_module
from taskql.adapters.redis.codec import decode, encode, snapshot_key
from taskql.adapters.redis.sink import Batch, Entry
from taskql.adapters.redis.snapshot import DELETED, LASTING_MS, MAX_PART_BYTES, PASSING_MS
from taskql.lifecycle import TaskStatus
from taskql.task import Task, TaskEvent
from tests.contract.redis_cache import Cache, open_cache
from tests.contract.redis_events import DEADLINE_SECONDS, a_task

DELETED_VALUE = f"{DELETED}\n\n".encode()
RUBBISH = ["", "x", "\n\n", "1\nx\ny", "1\n{}\n{}", "1\nnull\n", "\n\n\n", b"\xff\n\n"]


@pytest.fixture
async def cache(redis_url: str) -> AsyncIterator[Cache]:
    async with open_cache(redis_url) as cache:
        yield cache


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine this busy an answer may take its time."""
    monkeypatch.setattr(questions_module, "PATIENCE_SECONDS", DEADLINE_SECONDS)


def event_of(task: Task) -> TaskEvent:
    return decode(encode(task))


# ---------------------------------------------------------------- what is known


async def test_a_task_that_is_told_whole_is_known_whole(cache: Cache) -> None:
    task = a_task()
    await cache.told(task)
    assert await cache.fetch(task) == task


async def test_a_task_that_nobody_told_of_is_not_known(cache: Cache) -> None:
    assert await cache.snapshots.fetch(uuid4()) is None


async def test_an_event_changes_what_is_known(cache: Cache) -> None:
    task = a_task(version=1)
    newer = replace(task, version=2, status=TaskStatus.COMPLETED, result={"x": 1})
    await cache.told(task, event_of(newer))
    assert await cache.fetch(task) == newer


async def test_an_event_alone_is_no_snapshot(cache: Cache) -> None:
    task = a_task()
    await cache.told(event_of(task))
    assert await cache.fetch(task) is None


async def test_what_is_read_is_kept(cache: Cache) -> None:
    task = a_task()
    await cache.kept(task)
    assert await cache.fetch(task) == task


async def test_what_was_read_before_an_event_does_not_undo_it(cache: Cache) -> None:
    read = a_task(version=5)
    newer = replace(read, version=6, progress=None)
    await cache.told(event_of(newer))
    await cache.kept(read)  # read from PostgreSQL before the event, written after it
    assert await cache.fetch(read) == newer


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_the_newest_version_wins_in_any_order(cache: Cache, order: tuple[int, ...]) -> None:
    task_id = uuid4()
    versions = [a_task(task_id, version, title="t") for version in (8, 9, 10)]
    await cache.told(*(versions[each] for each in order))
    assert await cache.fetch(versions[0]) == versions[-1]


async def test_the_newest_of_one_batch_wins(cache: Cache) -> None:
    task = a_task()
    for version in (3, 1, 10, 2):
        cache.sink.publish(replace(task, version=version))
    cache.sink.publish(event_of(replace(task, version=11)))
    cache.snapshots.keep(task)
    await cache.sink.flush()
    assert await cache.fetch(task) == replace(task, version=11)


def test_a_snapshot_is_written_before_anybody_hears_of_it() -> None:
    batch = Batch(snapshots=True)
    batch.add(Entry((first := a_task()).id, first))
    batch.add(Entry((second := a_task(version=2)).id, event_of(second)))
    verbs = [command.words[0] for command in batch.commands]
    assert verbs == ["SET", "EVALSHA"] + ["PUBLISH"] * 4


async def test_a_retried_task_is_pending_again(cache: Cache) -> None:
    failed = a_task(version=4, status=TaskStatus.FAILED)
    retried = replace(failed, version=5, status=TaskStatus.PENDING)
    await cache.told(failed, retried)
    assert await cache.fetch(failed) == retried


@pytest.mark.parametrize(
    "content",
    [None, True, 0, -1.5, 1e300, 2**53 + 1, "", "ä🚀\u2028", [], {}, {"a": [None, {"b": "\\ud800"}]}],
)
async def test_json_of_any_shape_survives(cache: Cache, content: Any) -> None:
    task = a_task(input={"x": content}, result=content, title='"}{', owner="дуня:*\n")
    await cache.told(task)
    assert await cache.fetch(task) == task


# ---------------------------------------------------------------- what is not known, or no more


async def test_a_large_task_is_not_known(cache: Cache) -> None:
    task = a_task(input={"x": "x" * MAX_PART_BYTES}, result=None)
    await cache.told(task)
    await cache.kept(task)
    assert await cache.fetch(task) is None
    assert await cache.redis.strlen(snapshot_key(task.id)) < MAX_PART_BYTES


async def test_a_task_whose_result_is_large_is_known_no_more(cache: Cache) -> None:
    task = a_task(version=1)
    large = replace(task, version=2, result={"x": "x" * MAX_PART_BYTES})
    await cache.told(task, event_of(large))
    assert await cache.fetch(task) is None
    await cache.kept(task)
    assert await cache.fetch(task) is None


async def test_a_forgotten_task_stays_forgotten(cache: Cache) -> None:
    task = a_task(version=7)
    await cache.told(task)
    await cache.forgotten(task.id)
    assert await cache.fetch(task) is None
    await cache.told(task, event_of(task))
    await cache.kept(replace(task, version=8))
    assert await cache.fetch(task) is None
    assert await cache.redis.get(snapshot_key(task.id)) == DELETED_VALUE


async def test_what_is_forgotten_in_a_batch_is_forgotten_whatever_else_is_in_it(cache: Cache) -> None:
    task = a_task()
    cache.sink.publish(task)
    cache.sink.forget(task.id)
    cache.snapshots.keep(task)
    await cache.sink.flush()
    assert await cache.fetch(task) is None


@pytest.mark.parametrize(
    ("status", "milliseconds"),
    [
        (TaskStatus.PENDING, PASSING_MS),
        (TaskStatus.PROCESSING, PASSING_MS),
        (TaskStatus.FAILED, PASSING_MS),  # it can be retried
        (TaskStatus.CANCELLED, PASSING_MS),
        (TaskStatus.COMPLETED, LASTING_MS),
    ],
)
async def test_what_can_still_change_is_soon_forgotten(
    cache: Cache, status: TaskStatus, milliseconds: int
) -> None:
    task = a_task(version=2, status=status)
    await cache.told(task)
    assert 0 < await cache.lasts_ms(task) <= milliseconds
    assert milliseconds == PASSING_MS or await cache.lasts_ms(task) > PASSING_MS


async def test_an_event_alone_is_soon_forgotten(cache: Cache) -> None:
    task = a_task(status=TaskStatus.COMPLETED)
    await cache.told(event_of(task))
    assert 0 < await cache.lasts_ms(task) <= PASSING_MS
    await cache.kept(task)
    assert await cache.lasts_ms(task) > PASSING_MS


async def test_an_older_state_does_not_make_a_newer_one_last(cache: Cache) -> None:
    task = a_task(version=2)
    await cache.told(task)
    await cache.redis.pexpire(snapshot_key(task.id), 30_000)
    await cache.kept(replace(task, version=1))
    assert await cache.lasts_ms(task) > PASSING_MS  # as it was
    await cache.kept(task)
    assert await cache.lasts_ms(task) <= PASSING_MS


async def test_a_deleted_task_is_remembered_as_such_for_as_long_as_a_snapshot_lasts(cache: Cache) -> None:
    task = a_task(status=TaskStatus.COMPLETED)
    await cache.forgotten(task.id)
    assert await cache.lasts_ms(task) > PASSING_MS
    assert await cache.redis.get(snapshot_key(task.id)) == DELETED_VALUE


@pytest.mark.parametrize(
    "rubbish", ["", "x", "\n\n", "1\nx\ny", "1\n{}\n{}", "1\nnull\n", "\n\n\n", b"\xff\n\n"]
)
async def test_rubbish_in_the_cache_is_a_miss(cache: Cache, rubbish: str | bytes) -> None:
    task = a_task()
    await cache.redis.set(snapshot_key(task.id), rubbish)
    assert await cache.fetch(task) is None


async def test_a_task_s_first_version_changes_nothing_that_is_known(cache: Cache) -> None:
    first = a_task(version=1, status=TaskStatus.PENDING)
    newer = replace(first, version=2)
    for known in (first, newer):
        await cache.told(known, first)
        assert await cache.fetch(first) == known


async def test_a_first_version_that_is_read_completes_an_event_that_came_before(cache: Cache) -> None:
    first = a_task(version=1)
    newer = replace(first, version=2)
    await cache.told(event_of(newer))
    await cache.kept(first)
    assert await cache.fetch(first) == newer


async def test_versions_are_compared_as_numbers(cache: Cache) -> None:
    task = a_task(version=10)
    await cache.told(task, replace(task, version=9))
    assert await cache.fetch(task) == task


async def test_a_key_of_another_type_is_a_miss_and_spoils_no_other(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt, sound = a_task(), a_task()
    await cache.redis.lpush(snapshot_key(spoilt.id), "x")
    await cache.told(sound)
    asked = [asyncio.create_task(cache.fetch(task)) for task in (spoilt, sound)]
    assert [await each for each in asked] == [None, sound]
    await cache.told(replace(spoilt, version=2), replace(sound, version=2))
    assert await cache.fetch(sound) == replace(sound, version=2)
    assert "Redis refuses what we write" in caplog.text


async def test_a_sink_without_snapshots_writes_none(redis_url: str) -> None:
    task = a_task()
    async with RedisEventSink(redis_url) as sink, Redis.from_url(redis_url) as redis:
        sink.publish(task)
        sink.keep(task)
        sink.forget(task.id)
        await sink.flush()
        assert await redis.exists(snapshot_key(task.id)) == 0
