"""Live feeds of real deployments: every change that matches, whatever becomes of Redis."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from taskql.devstack import DevStack
from tests.deployment import Deployment
from tests.subscriber import Subscriber, subscriber

DEADLINE_SECONDS = 60.0

UPDATES = """
subscription Updates($filter: TaskFilter) {
  taskUpdates(filter: $filter) { id title status version updatedAt result { __typename } }
}
"""
CHANGES = """
query Changes($since: DateTime, $after: String) {
  tasks(filter: {updatedAfter: $since}, orderBy: CREATED_AT_ASC, first: 100, after: $after) {
    asOf nodes { id version status } pageInfo { hasNextPage endCursor }
  }
}
"""


class Feed:
    """What a subscriber is told, by task."""

    def __init__(self, source: Subscriber, filter: Any = None) -> None:
        self.versions: dict[str, list[int]] = {}
        self.statuses: dict[str, list[str]] = {}
        self._told = asyncio.Condition()
        self._reading = asyncio.create_task(self._read(source, filter))

    async def _read(self, source: Subscriber, filter: Any) -> None:
        async for result in source.results(UPDATES, filter=filter):
            assert "errors" not in result, result
            task = result["data"]["taskUpdates"]
            async with self._told:
                self.versions.setdefault(task["id"], []).append(task["version"])
                self.statuses.setdefault(task["id"], []).append(task["status"])
                self._told.notify_all()

    async def until_ended(self, ids: list[str], status: str = "COMPLETED") -> None:
        async with asyncio.timeout(DEADLINE_SECONDS), self._told:
            await self._told.wait_for(lambda: all(self.statuses.get(id, [""])[-1] == status for id in ids))

    async def until_told(self, deployment: Deployment) -> None:
        """Only what happens once it is subscribed is told, and nothing says when that is: try until it is."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                task_id = await deployment.create_id("probe", work={"process": {}})
                async with self._told:
                    try:
                        async with asyncio.timeout(0.5):
                            await self._told.wait_for(lambda id=task_id: id in self.versions)  # type: ignore[misc]
                    except TimeoutError:
                        continue
                return

    def assert_versions_rise(self) -> None:
        for versions in self.versions.values():
            assert versions == sorted(set(versions))

    async def stop(self) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])


@asynccontextmanager
async def following(deployment: Deployment, filter: Any = None) -> AsyncIterator[Feed]:
    async with subscriber(deployment.ws_url) as source:
        feed = Feed(source, filter)
        try:
            yield feed
        finally:
            await feed.stop()


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    with DevStack(data=tmp_path_factory.mktemp("feeds"), say=lambda _: None) as stack:
        yield stack


@pytest.fixture(scope="module")
async def own(own_stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """A deployment whose Redis these tests may break."""
    async with Deployment(own_stack, tmp_path_factory.mktemp("own")) as deployment:
        deployment.start_api()
        deployment.start_consumers()
        yield deployment


async def test_new_tasks_are_followed_from_their_creation_to_their_end(deployment: Deployment) -> None:
    async with following(deployment) as feed:
        await feed.until_told(deployment)
        task_id = await deployment.create_id(work={"countdown": {"steps": 3, "stepSeconds": 0.3}})
        await feed.until_ended([task_id])
    statuses = feed.statuses[task_id]
    assert statuses[-1] == "COMPLETED"
    assert {"PENDING", "PROCESSING"} & set(statuses)
    assert len(statuses) >= 3
    feed.assert_versions_rise()


async def test_filters_match_the_new_state(deployment: Deployment) -> None:
    wanted = {"status": ["COMPLETED", "FAILED"], "titleContains": "WANTED"}
    async with following(deployment) as everything, following(deployment, wanted) as feed:
        await everything.until_told(deployment)
        good = await deployment.create_id("a wanted one")
        bad = await deployment.create_id("Wanted too", work={"fail": {"permanent": True}})
        other = await deployment.create_id("another")
        await everything.until_ended([good, other])
        await feed.until_ended([good])
        await feed.until_ended([bad], "FAILED")
    assert feed.statuses == {good: ["COMPLETED"], bad: ["FAILED"]}


async def test_a_filter_that_can_not_be_is_an_error(deployment: Deployment) -> None:
    async with subscriber(deployment.ws_url) as source:
        results = [each async for each in source.results(UPDATES, filter={"titleContains": ""})]
    [result] = results
    assert result["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
    assert result["errors"][0]["path"] == ["taskUpdates"]


async def test_nothing_is_missed_while_redis_is_killed_and_comes_back(
    own: Deployment, own_stack: DevStack
) -> None:
    async with following(own) as feed:
        await feed.until_told(own)
        before = await created(own, 10)
        own_stack.valkey.kill()
        try:
            meanwhile = await created(own, 20)
            await feed.until_ended(meanwhile)  # found without Redis
            last = await created(own, 10)
        finally:
            own_stack.valkey.start()
        after = await created(own, 10)
        await feed.until_ended(before + last + after)
    feed.assert_versions_rise()


async def test_nothing_is_missed_while_redis_is_frozen(own: Deployment, own_stack: DevStack) -> None:
    async with following(own) as feed:
        await feed.until_told(own)
        own_stack.valkey.pause()
        try:
            meanwhile = await created(own, 20)
            await feed.until_ended(meanwhile)
        finally:
            own_stack.valkey.resume()
        after = await created(own, 10)
        await feed.until_ended(after)
    feed.assert_versions_rise()


async def test_a_client_that_was_away_catches_up_from_as_of(deployment: Deployment) -> None:
    known: dict[str, int] = {}
    since = await catch_up(deployment, known, None)
    ids = await created(deployment, 30)
    async with asyncio.timeout(DEADLINE_SECONDS):
        statuses: dict[str, str] = {}
        while not all(statuses.get(id) == "COMPLETED" for id in ids):
            since = await catch_up(deployment, known, since, statuses)
    for task_id in ids:
        assert (await deployment.task(task_id, "version"))["version"] == known[task_id]


async def created(deployment: Deployment, count: int) -> list[str]:
    return await asyncio.gather(*(deployment.create_id(f"Task {number}") for number in range(count)))


async def catch_up(
    deployment: Deployment, known: dict[str, int], since: str | None, statuses: dict[str, str] | None = None
) -> str:
    """Read what has changed, as the schema tells clients to; answers from when on to ask the next time."""
    after, first = None, None
    while True:
        page = (await deployment.graphql(CHANGES, since=since, after=after))["tasks"]
        first = first or page["asOf"]
        for task in page["nodes"]:
            known[task["id"]] = max(task["version"], known.get(task["id"], 0))
            if statuses is not None:
                statuses[task["id"]] = task["status"]
        if not page["pageInfo"]["hasNextPage"]:
            return str(first)
        after = page["pageInfo"]["endCursor"]
