"""The figures of the queues as clients get them, over a scripted store and a scripted clock."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from gql.queues import LiveQueues, until_end
from gql.viewer import LOCAL
from taskql.errors import Unavailable
from tests.unit.stub_api import StubApi, StubQueues, code

FIGURES = "{name depth inFlight delayed oldestAgeSeconds deadLetters}"


async def test_the_figures_of_every_queue_are_shown() -> None:
    found = (await StubApi(asks=LOCAL).data(f"{{queues {FIGURES}}}"))["queues"]
    assert [each["name"] for each in found] == ["high", "normal", "low", "fifo"]
    assert found[0] == {
        "name": "high", "depth": 1, "inFlight": 2, "delayed": 3, "oldestAgeSeconds": 1.5, "deadLetters": 4,
    }  # fmt: skip
    assert found[1]["oldestAgeSeconds"] is None


@pytest.mark.parametrize("every", [0, -1, 61])
async def test_an_interval_out_of_range_is_refused(every: int) -> None:
    [result] = await StubApi(asks=LOCAL).stream(f"subscription {{queues(everySeconds: {every}) {FIGURES}}}")
    assert result.errors is not None
    error: dict[str, Any] = dict(result.errors[0].formatted)
    assert (code(error), error["path"]) == ("BAD_USER_INPUT", ["queues"])


@pytest.mark.parametrize(
    ("now", "every", "rest"), [(10.0, 2, 2), (10.5, 2, 1.5), (11.0, 2, 1), (11.5, 2, 2.5), (59, 60, 61)]
)
def test_intervals_of_one_length_end_together(now: float, every: int, rest: float) -> None:
    assert until_end(now, every) == rest


class Live(LiveQueues):
    """Whose intervals end when the test says."""

    def __init__(self, store: StubQueues) -> None:
        self.time = 100.0
        super().__init__(store, lambda: self.time)
        self.ends = asyncio.Condition()
        self.waiting = 0
        self.passed = 0

    async def end_interval(self, watchers: int) -> None:
        async with self.ends:
            await self.ends.wait_for(lambda: self.waiting == watchers)
            self.time += 1
            self.passed += 1
            self.ends.notify_all()

    async def _open_after(self, seconds: float) -> bool:
        async with self.ends:
            before = self.passed
            self.waiting += 1
            self.ends.notify_all()
            await self.ends.wait_for(lambda: self.passed > before or self._closing.is_set())
            self.waiting -= 1
        return not self._closing.is_set()


async def test_all_who_watch_share_a_poll() -> None:
    store = StubQueues()
    live = Live(store)
    streams = [live.follow(1) for _ in range(50)]
    first = await asyncio.gather(*(anext(stream) for stream in streams))
    assert (store.polls, {figures[0].depth for figures in first}) == (1, {1})
    following = asyncio.gather(*(anext(stream) for stream in streams))
    await live.end_interval(50)
    assert {figures[0].depth for figures in await following} == {2}
    assert store.polls == 2
    await asyncio.gather(*(stream.aclose() for stream in streams))


async def test_an_outage_is_skipped_but_at_the_start() -> None:
    store = StubQueues()
    live = Live(store)
    async with aclosing(live.follow(1)) as stream:
        await anext(stream)
        store.failure = Unavailable("PostgreSQL is away")
        following = asyncio.ensure_future(anext(stream))
        await live.end_interval(1)
        await live.end_interval(1)
        with pytest.raises(Unavailable):
            await anext(live.follow(1))
        store.failure = None
        await live.end_interval(1)
        assert len(await following) == 4


async def test_one_who_leaves_takes_no_poll_along() -> None:
    live = Live(StubQueues())
    one, other = (asyncio.ensure_future(anext(live.follow(1))) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    assert len(await other) == 4


async def test_when_the_process_stops_everybody_is_sent_elsewhere() -> None:
    live = LiveQueues(StubQueues())
    async with asyncio.timeout(60), aclosing(live.follow(60)) as stream:
        await anext(stream)
        live.close()
        with pytest.raises(Unavailable, match="stopping"):
            await anext(stream)
