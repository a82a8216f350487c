"""The figures of the queues of a real deployment, asked for and watched."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskql.devstack import DevStack
from tests.deployment import Deployment
from tests.subscriber import subscriber

DEADLINE_SECONDS = 60.0
FIELDS = "name depth inFlight delayed oldestAgeSeconds deadLetters"
WATCH = f"subscription Watch($every: Int!) {{ queues(everySeconds: $every) {{ {FIELDS} }} }}"


@pytest.fixture(scope="module")
async def own(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """A deployment without a consumer."""
    async with Deployment(stack, tmp_path_factory.mktemp("queues")) as deployment:
        deployment.start_api()
        yield deployment


async def figures(deployment: Deployment) -> dict[str, Any]:
    return {
        each["name"]: each for each in (await deployment.graphql(f"{{ queues {{ {FIELDS} }} }}"))["queues"]
    }


async def test_figures_follow_the_tasks_with_and_without_a_consumer(own: Deployment) -> None:
    assert list(await figures(own)) == ["high", "normal", "low", "fifo"]
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for _ in range(3):
        await own.create_id(work={"process": {"simulateSeconds": 3600}})
    await own.create_id(runAt=later)
    await own.create_id(priority="HIGH", work={"fail": {"permanent": True}})
    found = await figures(own)
    assert found["normal"]["oldestAgeSeconds"] >= 0
    assert found["normal"] | {"oldestAgeSeconds": 0} == {
        "name": "normal", "depth": 3, "inFlight": 0, "delayed": 1, "oldestAgeSeconds": 0, "deadLetters": 0,
    }  # fmt: skip
    assert (found["high"]["depth"], found["low"]["oldestAgeSeconds"]) == (1, None)
    async with subscriber(own.ws_url) as watcher:
        results = watcher.results(WATCH, every=1)
        first = await asyncio.wait_for(anext(results), DEADLINE_SECONDS)
        assert {each["name"]: each["depth"] for each in first["data"]["queues"]}["normal"] == 3
        own.start_consumers()
        now = await until_all_run(results)
    assert (now["normal"]["depth"], now["normal"]["delayed"]) == (0, 1)
    assert now["normal"]["oldestAgeSeconds"] is None
    own.kill_consumers()


async def until_all_run(results: AsyncIterator[Any]) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for result in results:
            now = {each["name"]: each for each in result["data"]["queues"]}
            if now["normal"]["inFlight"] == 3 and now["high"]["deadLetters"] == 1:
                return now
    raise AssertionError("the stream has ended")


@pytest.mark.parametrize("every", [0, 61, -1])
async def test_an_interval_out_of_range_is_an_error(deployment: Deployment, every: int) -> None:
    async with subscriber(deployment.ws_url) as watcher:
        [result] = [each async for each in watcher.results(WATCH, every=every)]
    assert result["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert "everySeconds" in result["errors"][0]["message"]
