"""SnapshotCache as it is read, from a Valkey that is well, killed or frozen: nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from taskql.adapters.redis import nodes as nodes_module
from taskql.adapters.redis import questions as questions_module
from taskql.adapters.redis.questions import BATCH, PATIENCE_SECONDS
from taskql.devstack.valkey import Valkey
from taskql.lifecycle import TaskStatus
from tests.contract.redis_cache import Cache, open_cache
from tests.contract.redis_events import DEADLINE_SECONDS, a_task, until_logged


@pytest.fixture
async def cache(redis_url: str) -> AsyncIterator[Cache]:
    async with open_cache(redis_url) as cache:
        yield cache


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine this busy an answer may take its time; but for where that is what is tested."""
    if "valkey" not in request.fixturenames:
        monkeypatch.setattr(questions_module, "PATIENCE_SECONDS", DEADLINE_SECONDS)


# ---------------------------------------------------------------- reading


async def test_what_this_process_has_told_is_never_read_as_it_was_before(cache: Cache) -> None:
    task = a_task(version=1)
    await cache.told(task)
    cache.sink.publish(replace(task, version=2, status=TaskStatus.CANCELLED))
    assert await cache.fetch(task) is None  # PostgreSQL knows
    await cache.sink.flush()
    assert await cache.fetch(task) == replace(task, version=2, status=TaskStatus.CANCELLED)


async def test_many_requests_at_once_each_get_their_answer(cache: Cache) -> None:
    tasks = [a_task(status=TaskStatus.COMPLETED) for _ in range(3 * BATCH)]
    for task in tasks:
        cache.sink.publish(task)
    await cache.sink.flush()
    wanted = [*tasks, *tasks, a_task()]
    found = await asyncio.gather(*(cache.fetch(task) for task in wanted))
    assert found == [*tasks, *tasks, None]


async def test_a_request_that_is_given_up_takes_no_other_along(cache: Cache) -> None:
    task = a_task(status=TaskStatus.COMPLETED)
    await cache.told(task)
    given_up = asyncio.create_task(cache.fetch(task))
    other = asyncio.create_task(cache.fetch(task))
    await asyncio.sleep(0)  # lets them start, not end
    given_up.cancel()
    assert await other == task
    assert await cache.fetch(task) == task


async def test_a_lost_script_is_brought_again(cache: Cache) -> None:
    task = a_task()
    await cache.told(task)
    await cache.redis.script_flush()
    await cache.told(replace(task, version=2))  # lost; the connection is made anew after it
    await cache.told(replace(task, version=3))
    assert await cache.fetch(task) == replace(task, version=3)


# ---------------------------------------------------------------- while Redis is away


async def test_a_frozen_redis_delays_a_request_for_a_moment_and_the_next_ones_not_at_all(
    valkey: Valkey, fragile_url: str
) -> None:
    loop = asyncio.get_running_loop()
    async with open_cache(fragile_url) as cache:
        task = a_task(status=TaskStatus.COMPLETED)
        await cache.told(task)
        valkey.pause()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while await cache.fetch(task) is not None:
                pass
        began = loop.time()
        for _ in range(100):
            assert await cache.fetch(task) is None
        assert loop.time() - began < 100 * PATIENCE_SECONDS / 2
        valkey.resume()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while await cache.fetch(task) is None:
                await asyncio.sleep(0.01)


async def test_a_request_is_answered_long_before_a_frozen_redis_is_given_up(
    valkey: Valkey, fragile_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_cache(fragile_url) as cache:
        await cache.fetch(a_task())
        monkeypatch.setattr(nodes_module, "LIMIT_SECONDS", 10 * DEADLINE_SECONDS)
        valkey.pause()
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await cache.fetch(a_task()) is None
            assert await cache.fetch(a_task()) is None


async def test_everybody_who_waits_when_redis_freezes_is_sent_away(valkey: Valkey, fragile_url: str) -> None:
    async with open_cache(fragile_url) as cache:
        await cache.fetch(a_task())
        valkey.pause()
        asked = [asyncio.create_task(cache.fetch(a_task())) for _ in range(3 * BATCH)]
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert set(await asyncio.gather(*asked)) == {None}


async def test_a_restarted_redis_knows_nothing_and_learns_again(valkey: Valkey, fragile_url: str) -> None:
    async with open_cache(fragile_url) as cache:
        task = a_task(status=TaskStatus.COMPLETED)
        await cache.told(task)
        valkey.kill()
        assert await cache.fetch(task) is None
        valkey.start()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while await cache.fetch(task) is None:
                await cache.kept(task)


async def test_closing_while_redis_is_frozen_ends_and_answers(valkey: Valkey, fragile_url: str) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with open_cache(fragile_url) as cache:
            await cache.fetch(a_task())
            valkey.pause()
            asked = asyncio.create_task(cache.fetch(a_task()))
        assert await asked is None


async def test_telling_a_frozen_redis_is_dropped_not_waited_for(
    valkey: Valkey, fragile_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_cache(fragile_url) as cache:
        task = a_task()
        await cache.told(task)
        valkey.pause()
        cache.sink.publish(replace(task, version=2))
        await until_logged(caplog, "events get lost")
        assert not cache.sink.is_unwritten(task.id)
