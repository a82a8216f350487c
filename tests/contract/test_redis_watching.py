"""EventSource against a real Valkey: owners, storms of watches, and LOST and BACK in their order."""

import asyncio
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from taskql.adapters.redis import RedisEventSource
from taskql.adapters.redis.codec import channel, encode, owner_channel
from taskql.adapters.redis.source import WAITING_EVENTS
from taskql.devstack.valkey import Valkey
from taskql.ports import Hearing
from taskql.task import TaskEvent
from tests.contract.redis_events import DEADLINE_SECONDS, a_task, both, following, until, upcoming

STORM = 10_000
CYCLES = 5_000


async def subscribed(redis: Redis, pattern: str) -> list[str]:
    """The channels that somebody has subscribed to, but for the canaries'."""
    names = [str(name) for name in await redis.pubsub_channels(pattern)]
    return [name for name in names if "canary" not in name]


# ---------------------------------------------------------------- owners


async def test_all_tasks_of_a_watched_owner_arrive_and_nobody_else_s(redis_url: str) -> None:
    ids = [uuid4() for _ in range(3)]
    async with both(redis_url) as (sink, source):
        await source.watch_owner("ada")
        sink.publish(a_task(owner="bob"))
        for task_id in ids:
            sink.publish(a_task(task_id, owner="ada"))
        assert [(await following(source)).id for _ in ids] == ids


@pytest.mark.parametrize("owner", ["", " ", "a:b*", "дуня 🚀", "x" * 10_000, "\r\nPING\r\n"])
async def test_any_text_can_be_an_owner(redis_url: str, owner: str) -> None:
    async with both(redis_url) as (sink, source):
        await source.watch_owner(owner)
        sink.publish(a_task(owner=owner))
        assert (await following(source)).owner == owner


async def test_a_task_watched_in_both_ways_is_heard_after_either_ends(redis_url: str) -> None:
    task_id = uuid4()
    async with both(redis_url) as (sink, source):
        await source.watch_owner("ada")
        await source.watch(task_id)
        for version in (1, 2):
            sink.publish(a_task(task_id, version, owner="ada"))
        assert [(await following(source)).version for _ in range(2)] == [1, 2]
        await source.unwatch_owner("ada")
        sink.publish(a_task(task_id, 3, owner="ada"))
        assert (await following(source)).version == 3
        await source.watch_owner("ada")
        await source.unwatch(task_id)
        sink.publish(a_task(task_id, 4, owner="ada"))
        assert (await following(source)).version == 4


async def test_an_owner_s_name_is_no_channel_s(redis_url: str) -> None:
    async with (
        RedisEventSource(redis_url) as source,
        Redis.from_url(redis_url, decode_responses=True) as redis,
    ):
        await source.watch_owner("ada-lovelace")
        assert await subscribed(redis, "*ada-lovelace*") == []
        assert await subscribed(redis, owner_channel("ada-lovelace"))


# ---------------------------------------------------------------- storms


async def test_a_storm_of_watches_holds_and_none_gives_up(redis_url: str) -> None:
    ids = [uuid4() for _ in range(STORM)]
    async with both(redis_url) as (sink, source):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*(source.watch(task_id) for task_id in ids))
        for task_id in ids[::10]:
            sink.publish(a_task(task_id))
        assert {(await following(source)).id for _ in ids[::10]} == set(ids[::10])


async def test_a_storm_through_a_slow_server_waits_its_turn(valkey: Valkey, fragile_url: str) -> None:
    """The limit is for a server that confirms nothing, not for one that has much to confirm."""
    async with RedisEventSource(fragile_url) as source:
        await source.watch(uuid4())
        watching = [asyncio.create_task(source.watch(uuid4())) for _ in range(STORM)]
        for _ in range(3):
            await asyncio.sleep(0.01)
            valkey.pause()
            await asyncio.sleep(0.4)  # longer than the limit, all in all
            valkey.resume()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*watching)


async def test_thousands_of_watches_that_end_leave_nothing(valkey: Valkey, fragile_url: str) -> None:
    async def cycle() -> None:
        task_id, owner = uuid4(), str(uuid4())
        await asyncio.gather(source.watch(task_id), source.watch_owner(owner))
        await asyncio.gather(source.unwatch(task_id), source.unwatch_owner(owner))

    async with both(fragile_url) as (_, source), Redis.from_url(fragile_url, decode_responses=True) as redis:
        for _ in range(10):
            await asyncio.gather(*(cycle() for _ in range(CYCLES // 10)))
        witness = uuid4()
        await source.watch(witness)  # confirmed after all that was asked before it
        assert await subscribed(redis, "taskql:*") == [channel(witness)]
        assert list(source._watched) == [channel(witness)]
        assert source._waiting == {}


# ---------------------------------------------------------------- LOST and BACK


async def hearings(source: RedisEventSource, count: int) -> list[TaskEvent | Hearing]:
    return [await upcoming(source) for _ in range(count)]


async def test_a_lost_connection_is_told_at_once_and_then_its_return(fragile_url: str) -> None:
    async with (
        RedisEventSource(fragile_url) as source,
        Redis.from_url(fragile_url, decode_responses=True) as redis,
    ):
        await source.watch(uuid4())
        await redis.client_kill_filter(_type="pubsub")
        assert await hearings(source, 2) == [Hearing.LOST, Hearing.BACK]


async def test_a_frozen_server_is_lost_before_it_is_back(valkey: Valkey, fragile_url: str) -> None:
    async with RedisEventSource(fragile_url) as source:
        await source.watch(uuid4())
        valkey.pause()
        assert await upcoming(source) is Hearing.LOST
        valkey.resume()
        assert await upcoming(source) is Hearing.BACK


async def test_a_server_that_was_never_there_is_lost(valkey: Valkey, fragile_url: str) -> None:
    valkey.kill()
    async with RedisEventSource(fragile_url) as source:
        assert await upcoming(source) is Hearing.LOST
        valkey.start()
        assert await upcoming(source) is Hearing.BACK


async def test_when_it_is_back_everything_is_heard_again(valkey: Valkey, fragile_url: str) -> None:
    ids: list[UUID] = [uuid4() for _ in range(STORM)]
    async with (
        RedisEventSource(fragile_url) as source,
        Redis.from_url(fragile_url, decode_responses=True) as redis,
    ):
        await asyncio.gather(*(source.watch(task_id) for task_id in ids), source.watch_owner("ada"))
        valkey.kill()
        assert await upcoming(source) is Hearing.LOST
        valkey.start()
        await until(source, Hearing.BACK)
        assert len(await subscribed(redis, "taskql:*")) == STORM + 1


async def test_what_is_unwatched_during_an_outage_is_not_watched_after_it(
    valkey: Valkey, fragile_url: str
) -> None:
    gone, kept = uuid4(), uuid4()
    async with (
        RedisEventSource(fragile_url) as source,
        Redis.from_url(fragile_url, decode_responses=True) as redis,
    ):
        await source.watch(gone)
        await source.watch(kept)
        valkey.kill()
        await until(source, Hearing.LOST)
        await source.unwatch(gone)
        valkey.start()
        await until(source, Hearing.BACK)
        assert await subscribed(redis, "taskql:*") == [channel(kept)]


async def test_a_reader_that_is_behind_when_the_connection_is_lost_hears_so(
    valkey: Valkey, fragile_url: str
) -> None:
    task_id = uuid4()
    async with (
        RedisEventSource(fragile_url) as source,
        Redis.from_url(fragile_url, decode_responses=True) as redis,
    ):
        await source.watch(task_id)
        flood = redis.pipeline(transaction=False)
        for _ in range(WAITING_EVENTS):
            flood.publish(channel(task_id), encode(a_task(task_id)))
        await flood.execute()
        await source.watch(uuid4())  # confirmed after all that came before it
        valkey.kill()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(source._events) == WAITING_EVENTS:  # one more, and all of them give way
                await asyncio.sleep(0.01)
        assert await upcoming(source) is Hearing.LOST
        valkey.start()
        assert await upcoming(source) is Hearing.BACK
