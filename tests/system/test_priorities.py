"""One slot, real queues: a backlog is overtaken, and no queue has to wait for the silence of another."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from taskql.devstack import DevStack
from tests.deployment import QUICK, Deployment

ONE_SLOT = QUICK | {"TASKQL_CONCURRENCY": "1", "TASKQL_POLL_SECONDS": "5"}
DEADLINE_SECONDS = 20

WAYS: dict[str, dict[str, Any]] = {
    "high": {"priority": "HIGH"},
    "normal": {},
    "low": {"priority": "LOW"},
    "fifo": {"orderingKey": "account-7"},
}
"""A way into each queue."""


@pytest.fixture(scope="module")
async def one_slot(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with Deployment(stack, tmp_path_factory.mktemp("priorities"), ONE_SLOT) as deployment:
        deployment.start_api()
        deployment.start_consumers()
        yield deployment


async def until_ended(deployment: Deployment, task_id: str) -> Any:
    """The task, once it is COMPLETED."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (task := await deployment.task(task_id, "status createdAt startedAt finishedAt"))["status"] in (
        "PENDING",
        "PROCESSING",
    ):
        assert time.monotonic() < deadline, task
        await asyncio.sleep(0.05)
    assert task["status"] == "COMPLETED"
    return task


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize("way", WAYS)
async def test_an_idle_worker_starts_a_task_of_any_queue_within_a_second(
    one_slot: Deployment, way: str
) -> None:
    task = await until_ended(one_slot, await one_slot.create_id(way, **WAYS[way]))
    assert (moment(task["startedAt"]) - moment(task["createdAt"])).total_seconds() < 1


@pytest.mark.parametrize("backlog", ["low", "normal"])
async def test_a_task_of_priority_high_overtakes_a_backlog(one_slot: Deployment, backlog: str) -> None:
    work = {"process": {"simulateSeconds": 0.3}}
    waiting = [await one_slot.create_id("waits", work=work, **WAYS[backlog]) for _ in range(10)]
    await until_ended(one_slot, waiting[0])
    urgent = await until_ended(one_slot, await one_slot.create_id("urgent", **WAYS["high"]))
    ended = [await one_slot.task(each, "finishedAt") for each in waiting]
    before = [moment(each["finishedAt"]) for each in ended if each["finishedAt"]]
    free = max(end for end in before if end <= moment(urgent["startedAt"]))
    assert (moment(urgent["startedAt"]) - free).total_seconds() < 1
    assert sum(moment(urgent["createdAt"]) <= end <= moment(urgent["startedAt"]) for end in before) <= 2
    for each in waiting:
        await until_ended(one_slot, each)


async def test_low_has_its_turn_among_a_stream_of_others(one_slot: Deployment) -> None:
    work = {"process": {"simulateSeconds": 0.05}}
    stream = [await one_slot.create_id("stream", work=work, **WAYS["high"]) for _ in range(60)]
    low = await until_ended(one_slot, await one_slot.create_id("low", work=work, **WAYS["low"]))
    last = await until_ended(one_slot, stream[-1])
    assert moment(low["startedAt"]) < moment(last["startedAt"])
