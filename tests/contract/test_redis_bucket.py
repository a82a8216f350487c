"""RateLimiter against a real Redis: a bucket an owner, shared by processes; away, it counts nothing."""

import asyncio
from collections.abc import Collection
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from taskql.adapters.redis import RedisBuckets
from taskql.adapters.redis import questions as questions_module
from taskql.adapters.redis.bucket import key_of
from taskql.adapters.redis.questions import BATCH, PATIENCE_SECONDS
from taskql.devstack.valkey import Valkey
from taskql.ports import Allowance
from tests.contract.redis_events import DEADLINE_SECONDS, until_logged

SLOWLY = 0.01
"""Requests a second: so few that no test sees the bucket fill."""
AT_ONCE = 500
"""A second: so many that a bucket is full again at once."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, even the first connection can take more than a moment."""
    monkeypatch.setattr(questions_module, "PATIENCE_SECONDS", DEADLINE_SECONDS)


@pytest.fixture
def owner() -> str:
    return f"alice {uuid4()}"


async def taken(buckets: RedisBuckets, owner: str, times: int) -> list[Allowance]:
    allowances = await asyncio.gather(*(buckets.take(owner) for _ in range(times)))
    return [allowance for allowance in allowances if allowance is not None]


def granted(allowances: Collection[Allowance]) -> int:
    return sum(allowance.granted for allowance in allowances)


async def test_a_bucket_grants_its_burst_and_no_more(redis_url: str, owner: str) -> None:
    async with RedisBuckets(redis_url, SLOWLY, 3) as buckets:
        found = await taken(buckets, owner, 5)
    assert [allowance.granted for allowance in found] == [True, True, True, False, False]
    assert [allowance.remaining for allowance in found] == [2, 1, 0, 0, 0]
    assert {(allowance.per_second, allowance.burst) for allowance in found} == {(SLOWLY, 3)}


async def test_who_is_refused_learns_when_to_come_again(redis_url: str, owner: str) -> None:
    async with RedisBuckets(redis_url, SLOWLY, 2) as buckets:
        first, second, refused = await taken(buckets, owner, 3)
    assert first.wait_seconds == second.wait_seconds == 0
    assert 90 < refused.wait_seconds <= 100
    assert 90 < first.full_seconds <= 100
    assert 190 < second.full_seconds <= 200
    assert 190 < refused.full_seconds <= 200


async def test_a_refused_request_takes_nothing(redis_url: str, owner: str) -> None:
    async with RedisBuckets(redis_url, SLOWLY, 1) as buckets:
        found = await taken(buckets, owner, 20)
    assert max(allowance.full_seconds for allowance in found) <= 100


async def test_a_bucket_fills_again(redis_url: str, owner: str) -> None:
    async with RedisBuckets(redis_url, AT_ONCE, 1) as buckets, asyncio.timeout(10):
        assert granted(await taken(buckets, owner, 1)) == 1
        while granted(await taken(buckets, owner, 1)) == 0:
            pass


async def test_each_owner_has_a_bucket(redis_url: str, owner: str) -> None:
    async with RedisBuckets(redis_url, SLOWLY, 2) as buckets:
        for someone in (owner, owner + "{x}", "\ud800" + owner):
            assert granted(await taken(buckets, someone, 3)) == 2


async def test_processes_share_a_bucket(redis_url: str, owner: str) -> None:
    async with RedisBuckets(redis_url, SLOWLY, 10) as one, RedisBuckets(redis_url, SLOWLY, 10) as other:
        found = [*await taken(one, owner, 6), *await taken(other, owner, 6)]
    assert granted(found) == 10


async def test_more_than_one_round_trip_of_requests_are_counted_once_each(redis_url: str, owner: str) -> None:
    async with RedisBuckets(redis_url, SLOWLY, BATCH + 5) as buckets:
        found = await taken(buckets, owner, BATCH + 50)
    assert granted(found) == BATCH + 5
    assert len({allowance.remaining for allowance in found if allowance.granted}) == BATCH + 5


async def test_a_full_bucket_is_not_kept(redis_url: str, owner: str) -> None:
    async with RedisBuckets(redis_url, SLOWLY, 5) as buckets, Redis.from_url(redis_url) as redis:
        await taken(buckets, owner, 1)
        assert 90_000 < await redis.pttl(key_of(owner)) <= 100_000


async def test_a_server_that_has_lost_the_script_is_given_it_again(redis_url: str, owner: str) -> None:
    async with RedisBuckets(redis_url, SLOWLY, 100) as buckets, Redis.from_url(redis_url) as redis:
        assert len(await taken(buckets, owner, 1)) == 1
        await redis.script_flush()
        async with asyncio.timeout(10):
            while not await taken(buckets, owner, 1):
                await asyncio.sleep(0)


async def test_while_redis_is_away_nothing_is_counted_and_nobody_waits(
    valkey: Valkey, fragile_url: str, owner: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with RedisBuckets(fragile_url, SLOWLY, 2) as buckets:
        assert granted(await taken(buckets, owner, 1)) == 1
        valkey.kill()
        for _ in range(10):
            assert await buckets.take(owner) is None
        valkey.start()
        async with asyncio.timeout(30):
            while not await taken(buckets, owner, 1):
                await asyncio.sleep(0)
        await until_logged(caplog, "counted again")
    assert caplog.text.count("requests are not counted") == 1
    assert caplog.text.count("Requests are counted again") == 1


async def test_a_frozen_redis_holds_nobody_up(
    valkey: Valkey, fragile_url: str, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RedisBuckets(fragile_url, SLOWLY, 2) as buckets:
        await taken(buckets, owner, 1)
        monkeypatch.setattr(questions_module, "PATIENCE_SECONDS", PATIENCE_SECONDS)
        valkey.pause()
        assert await taken(buckets, owner, 100) == []
