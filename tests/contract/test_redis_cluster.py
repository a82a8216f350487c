"""The adapters against a cluster: all nodes are heard, and what moves or dies is told."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
from redis.crc import key_slot

from taskql.adapters.redis import RedisBuckets, RedisEventSink, RedisEventSource, RedisSnapshots
from taskql.adapters.redis import questions as questions_module
from taskql.adapters.redis.codec import channel, decode, owner_channel, snapshot_key
from taskql.adapters.redis.connections import Node
from taskql.adapters.redis.topology import topology_of
from taskql.ports import Hearing
from tests.contract.redis_events import DEADLINE_SECONDS, a_task, both, following, until, until_delivered
from tests.contract.valkey_cluster import SIZE, SLOTS, Cluster, Member, ask, ids_on, owner_on, start

EACH = 20


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Member]]:
    with ExitStack() as stack:
        yield [start(tmp_path_factory.mktemp(f"node{at}"), stack) for at in range(SIZE)]


@pytest.fixture(scope="module")
async def formed(members: list[Member]) -> Cluster:
    cluster = Cluster(members)
    await cluster.form()
    return cluster


@pytest.fixture
async def cluster(formed: Cluster) -> AsyncIterator[Cluster]:
    """Whole before and after the test."""
    yield formed
    for member in formed.members:
        member.resume()
        member.start()
    await formed.until_whole()


# ---------------------------------------------------------------- while the cluster is well


async def test_tasks_on_every_node_are_heard_in_order(cluster: Cluster) -> None:
    ids = [task_id for at in range(SIZE) for task_id in await ids_on(cluster, at, EACH)]
    async with both(cluster.url()) as (sink, source):
        await asyncio.gather(*(source.watch(task_id) for task_id in ids))
        for version in (1, 2, 3):
            for task_id in ids:
                sink.publish(a_task(task_id, version))
        heard = [await following(source) for _ in range(3 * len(ids))]
    for task_id in ids:
        assert [event.version for event in heard if event.id == task_id] == [1, 2, 3]


async def test_an_owner_is_heard_wherever_the_tasks_are(cluster: Cluster) -> None:
    ids = [task_id for at in range(SIZE) for task_id in await ids_on(cluster, at, EACH)]
    async with both(cluster.url()) as (sink, source):
        await source.watch_owner("ada")
        for task_id in ids:
            sink.publish(a_task(task_id, owner="ada"))
        assert [(await following(source)).id for _ in ids] == ids


async def test_there_is_one_connection_to_each_node(cluster: Cluster) -> None:
    async with RedisEventSource(cluster.url()) as source:
        await asyncio.gather(*(source.watch(uuid4()) for _ in range(100)))
        for at in range(SIZE):
            async with cluster.client(at) as redis:
                listening = [each for each in await redis.client_list() if each["ssub"] != "0"]
                assert len(listening) == 1


async def test_a_storm_of_watches_holds_on_a_cluster_and_leaves_nothing(cluster: Cluster) -> None:
    ids = [uuid4() for _ in range(5_000)]
    async with both(cluster.url()) as (sink, source):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await asyncio.gather(*(source.watch(task_id) for task_id in ids))
        sink.publish(a_task(ids[-1]))
        assert (await following(source)).id == ids[-1]
        await asyncio.gather(*(source.unwatch(task_id) for task_id in ids))
        for at in range(SIZE):
            await source.watch((await ids_on(cluster, at))[0])  # confirmed after all that was asked before it
            async with cluster.client(at) as redis:
                names = await ask(redis, "PUBSUB", "SHARDCHANNELS")
                assert len([name for name in names if "canary" not in name]) == 1


async def test_snapshots_are_written_and_read_on_every_node(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions_module, "PATIENCE_SECONDS", DEADLINE_SECONDS)
    tasks = [a_task(task_id) for at in range(SIZE) for task_id in await ids_on(cluster, at, EACH)]
    async with (
        RedisEventSink(cluster.url(), snapshots=True) as sink,
        RedisSnapshots(cluster.url(), sink) as snapshots,
    ):
        for task in tasks:
            sink.publish(task)
        await sink.flush()
        assert await asyncio.gather(*(snapshots.fetch(task.id) for task in tasks)) == tasks


async def test_buckets_are_counted_on_every_node(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions_module, "PATIENCE_SECONDS", DEADLINE_SECONDS)
    async with RedisBuckets(cluster.url(), 0.01, 2) as buckets:
        for owner in map(str, range(3 * SIZE)):
            taken = await asyncio.gather(*(buckets.take(owner) for _ in range(3)))
            assert [allowance and allowance.granted for allowance in taken] == [True, True, False]


async def test_a_channel_has_one_slot_wherever_it_is_asked_for() -> None:
    topology = topology_of([[0, SLOTS - 1, [b"a", 1, b"id"]]], "asked")
    for name in (channel(uuid4()), owner_channel("ada"), snapshot_key(uuid4())):
        assert topology.slot(name) == key_slot(name.encode())


def test_a_node_that_does_not_tell_its_host_is_where_it_was_asked() -> None:
    ranges = [[0, 99, [b"", 1, b"id"]], [100, 199, [None, 2, b"id"]], [200, SLOTS - 1, [b"c", 3, b"id"]]]
    assert topology_of(ranges, "asked").nodes == (Node("asked", 1), Node("asked", 2), Node("c", 3))


# ---------------------------------------------------------------- while it is not


async def test_a_killed_node_is_lost_and_heard_again_when_it_is_back(cluster: Cluster) -> None:
    [on_first], [on_last] = await ids_on(cluster, 0), await ids_on(cluster, 2)
    async with both(cluster.url()) as (sink, source):
        await source.watch(on_first)
        await source.watch(on_last)
        cluster.members[2].kill()
        await until(source, Hearing.LOST)
        cluster.members[2].start()
        await until(source, Hearing.BACK)
        await until_delivered(sink, source, a_task(on_last, 2))
        await until_delivered(sink, source, a_task(on_first, 3))


async def test_a_frozen_node_is_lost_and_heard_again_when_it_thaws(cluster: Cluster) -> None:
    [task_id] = await ids_on(cluster, 1)
    async with both(cluster.url()) as (sink, source):
        await source.watch(task_id)
        cluster.members[1].pause()
        await until(source, Hearing.LOST)
        cluster.members[1].resume()
        await until(source, Hearing.BACK)
        await until_delivered(sink, source, a_task(task_id, 2))


async def test_a_slot_that_moves_is_a_gap_and_is_heard_where_it_went(cluster: Cluster) -> None:
    [task_id] = await ids_on(cluster, 1)
    async with both(cluster.url()) as (sink, source):
        await source.watch(task_id)
        sink.publish(a_task(task_id, 1))
        assert (await following(source)).version == 1
        await cluster.move(key_slot(channel(task_id).encode()), to=2)
        await until(source, Hearing.LOST)
        await until(source, Hearing.BACK)
        await until_delivered(sink, source, a_task(task_id, 2))


async def test_a_sink_follows_a_slot_that_moves_and_loses_nothing(cluster: Cluster) -> None:
    [task_id] = await ids_on(cluster, 0)
    async with RedisEventSink(cluster.url()) as sink:
        sink.publish(a_task(task_id, 1))
        await sink.flush()  # the sink has the old map
        await cluster.move(key_slot(channel(task_id).encode()), to=1)
        async with RedisEventSource(cluster.url()) as source:
            await source.watch(task_id)
            sink.publish(a_task(task_id, 2))
            assert (await following(source)).version == 2


async def test_what_the_living_nodes_hold_is_told_though_the_one_that_we_were_given_is_dead(
    cluster: Cluster,
) -> None:
    [task_id] = await ids_on(cluster, 1)
    async with RedisEventSink(cluster.url(0)) as sink, cluster.client(1) as redis, redis.pubsub() as listener:
        await listener.ssubscribe(channel(task_id))
        sink.publish(a_task(task_id, 1))
        assert await next_version(listener) == 1
        cluster.members[0].kill()
        sink.publish(a_task(owner=owner_on(0)))  # the sink finds the dead node
        await sink.flush()
        for version in range(2, 5):
            sink.publish(a_task(task_id, version, owner=owner_on(1)))
            assert await next_version(listener) == version


async def next_version(listener: Any) -> int:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            message = await listener.get_message(ignore_subscribe_messages=True, timeout=1)
            if message is not None:
                return decode(message["data"].encode()).version
