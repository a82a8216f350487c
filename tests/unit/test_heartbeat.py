"""The heartbeat of one message, on scripted ports."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from consumer.heartbeat import Heartbeat
from taskql.errors import LeaseLost
from taskql.ports import Message
from taskql.task import Lease
from tests.unit.scripted import (
    AT_ONCE,
    AWAY,
    HOUR,
    LONGEST_WAIT_SECONDS,
    Handlers,
    Outside,
    a_message,
    an_executor,
)


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def handlers(outside: Outside) -> Handlers:
    return Handlers(outside)


async def test_a_heartbeat_extends_the_message_and_once_claimed_the_lease(outside: Outside) -> None:
    message, lease = a_message(), Lease(uuid4(), 1)
    async with Heartbeat(outside, outside, message, HOUR, AT_ONCE) as heartbeat:
        await outside.until(lambda: len(outside.log) >= 2)
        assert outside.named("extend") == []
        heartbeat.hold(lease, lost=lambda: pytest.fail("it is not lost"))
        await outside.until(lambda: len(outside.named("extend")) >= 2)
    assert set(outside.log) == {("hide", message, HOUR), ("extend", lease)}


async def test_a_lost_lease_is_told_once_and_ends_the_beating(outside: Outside) -> None:
    losses: list[int] = []
    outside.fails("extend", LeaseLost("rescued"))
    async with Heartbeat(outside, outside, a_message(), HOUR, AT_ONCE) as heartbeat:
        heartbeat.hold(Lease(uuid4(), 1), lost=lambda: losses.append(1))
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            while not losses:
                await asyncio.sleep(0)
            assert heartbeat._loop is not None
            await heartbeat._loop
        assert losses == [1]


@pytest.mark.parametrize("error", [AWAY, ValueError("a defect of ours")])
@pytest.mark.parametrize("name", ["extend", "hide"])
async def test_a_missed_beat_is_followed_by_the_next(outside: Outside, name: str, error: Exception) -> None:
    outside.fails(name, error, error)
    async with Heartbeat(outside, outside, a_message(), HOUR, AT_ONCE) as heartbeat:
        heartbeat.hold(Lease(uuid4(), 1), lost=lambda: pytest.fail("it is not lost"))
        await outside.until(lambda: len(outside.named(name)) >= 4)


async def test_a_beat_under_way_is_finished_before_the_block_is_left(outside: Outside) -> None:
    begun, gate, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(message: Message, duration: timedelta) -> None:
        begun.set()
        await gate.wait()
        ended.set()

    outside.hide = slow  # type: ignore[method-assign]
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        async with Heartbeat(outside, outside, a_message(), HOUR, AT_ONCE):
            await begun.wait()
            asyncio.get_running_loop().call_soon(gate.set)
    assert ended.is_set()


async def test_an_attempt_whose_lease_is_lost_is_stopped_and_writes_nothing(
    outside: Outside, handlers: Handlers
) -> None:
    outside.fails("extend", LeaseLost("cancelled"))
    message = a_message()
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await an_executor(outside, handlers, beat_every=AT_ONCE).execute(message)
    assert handlers.started == 1
    assert handlers.running == 0
    assert outside.named("complete", "retry", "fail", "release") == []
    assert outside.named("acknowledge") == [("acknowledge", message)]
