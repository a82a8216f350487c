"""EventSink and EventSource against a Valkey that is killed, cut off and frozen: every gap is told."""

import asyncio
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from taskql.adapters.redis import RedisEventSink, RedisEventSource
from taskql.adapters.redis.codec import channel, encode
from taskql.adapters.redis.connections import LIMIT_SECONDS
from taskql.adapters.redis.sink import BATCH_EVENTS, BUFFERED_EVENTS
from taskql.devstack.valkey import Valkey
from taskql.errors import Unavailable
from taskql.ports import Hearing
from tests.contract.redis_events import (
    DEADLINE_SECONDS,
    a_task,
    both,
    following,
    until,
    until_delivered,
    until_logged,
)


async def test_a_killed_server_is_a_gap_and_then_events_come_again(
    valkey: Valkey, fragile_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = uuid4()
    async with both(fragile_url) as (sink, source):
        await source.watch(task_id)
        valkey.kill()
        await until_logged(caplog, "live updates are delayed")
        sink.publish(a_task(task_id, 1))  # nobody will see this one
        valkey.start()
        await until(source, Hearing.BACK)
        await until_delivered(sink, source, a_task(task_id, 2))


async def test_a_connection_that_is_cut_is_a_gap(fragile_url: str) -> None:
    task_id = uuid4()
    async with both(fragile_url) as (sink, source), Redis.from_url(fragile_url) as redis:
        await source.watch(task_id)
        await redis.client_kill_filter(_type="pubsub")
        await until(source, Hearing.BACK)
        sink.publish(a_task(task_id))
        event = await following(source)
        assert event.id == task_id


async def test_a_frozen_server_is_noticed_and_is_a_gap(
    valkey: Valkey, fragile_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = uuid4()
    async with both(fragile_url) as (sink, source):
        await source.watch(task_id)
        valkey.pause()
        await until_logged(caplog, "live updates are delayed")
        valkey.resume()
        await until(source, Hearing.BACK)
        await until_delivered(sink, source, a_task(task_id))


async def test_watching_while_redis_is_away_raises_and_takes_effect_later(
    valkey: Valkey, fragile_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = uuid4()
    async with both(fragile_url) as (sink, source):
        await source.watch(uuid4())
        valkey.kill()
        await until_logged(caplog, "live updates are delayed")
        with pytest.raises(Unavailable):
            await source.watch(task_id)
        valkey.start()
        await until(source, Hearing.BACK)
        sink.publish(a_task(task_id))
        event = await following(source)
        assert event.id == task_id


async def test_a_watch_that_is_confirmed_too_late_is_a_gap(valkey: Valkey, fragile_url: str) -> None:
    task_id = uuid4()
    async with RedisEventSource(fragile_url) as source, Redis.from_url(fragile_url) as redis:
        await source.watch(uuid4())
        valkey.pause()
        with pytest.raises(Unavailable):
            await source.watch(task_id)
        valkey.resume()  # before the canary is missed: the connection lives on
        await until(source, Hearing.BACK)
        await redis.publish(channel(task_id), encode(a_task(task_id)))
        event = await following(source)
        assert event.id == task_id


async def test_the_source_starts_before_redis_does(valkey: Valkey, fragile_url: str) -> None:
    task_id = uuid4()
    valkey.kill()
    async with both(fragile_url) as (sink, source):
        with pytest.raises(Unavailable):
            await source.watch(task_id)
        valkey.start()
        await until(source, Hearing.BACK)
        await until_delivered(sink, source, a_task(task_id))


async def test_a_watch_before_the_first_connection_stands_is_told_from_when_on(
    valkey: Valkey, fragile_url: str
) -> None:
    valkey.pause()
    async with RedisEventSource(fragile_url) as source:
        with pytest.raises(Unavailable):
            await source.watch(uuid4())
        valkey.resume()  # before the connection is given up
        await until(source, Hearing.BACK)


async def test_publishing_to_a_frozen_server_neither_waits_nor_piles_up(
    valkey: Valkey, fragile_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = uuid4()
    async with both(fragile_url) as (sink, source):
        await source.watch(task_id)
        sink.publish(a_task(task_id, 1))
        await following(source)  # the sink is connected
        valkey.pause()
        for version in range(2, 2 * BUFFERED_EVENTS):
            sink.publish(a_task(task_id, version))
        await until_logged(caplog, "events get lost")
        valkey.resume()
        await until_delivered(sink, source, a_task(task_id, 2 * BUFFERED_EVENTS))


async def test_flushing_to_a_frozen_server_ends_within_its_limit(valkey: Valkey, fragile_url: str) -> None:
    loop = asyncio.get_running_loop()
    async with RedisEventSink(fragile_url) as sink:
        valkey.pause()
        for _ in range(3 * BATCH_EVENTS):
            sink.publish(a_task())
        began = loop.time()
        await sink.flush()
        assert loop.time() - began < 2 * LIMIT_SECONDS


async def test_closing_while_the_server_is_frozen_ends(valkey: Valkey, fragile_url: str) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with both(fragile_url) as (sink, source):
            await source.watch(uuid4())
            valkey.pause()
            sink.publish(a_task())


async def test_whoever_waits_when_the_source_closes_is_sent_away_and_so_is_who_comes_later(
    valkey: Valkey, fragile_url: str
) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async with RedisEventSource(fragile_url) as source:
            await source.watch(uuid4())
            valkey.pause()
            waiting = asyncio.create_task(source.watch(uuid4()))
            await asyncio.sleep(0)  # lets it start, not end
        for late in (waiting, source.watch(uuid4())):
            with pytest.raises(Unavailable):
                await late


async def test_an_outage_is_logged_once_and_so_is_its_end(
    valkey: Valkey, fragile_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    task_id = uuid4()
    async with both(fragile_url) as (sink, source):
        await source.watch(task_id)
        valkey.kill()
        for version in range(50):
            sink.publish(a_task(task_id, version))
            await asyncio.sleep(0)
        await until_logged(caplog, "events get lost")
        with pytest.raises(Unavailable):
            await source.watch(uuid4())
        valkey.start()
        await until_delivered(sink, source, a_task(task_id, 100))
        await until_logged(caplog, "published again")
    for once in ("events get lost", "published again", "live updates are delayed", "updates are live again"):
        assert caplog.text.count(once) == 1
