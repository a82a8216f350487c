"""docs/asking.md, done as it says: every example is sent, and does what the text around it promises."""

import re
from itertools import pairwise
from typing import Any

from tests.deployment import Deployment
from tests.documents import blocks
from tests.subscriber import subscriber

OPERATION = re.compile(r"(?:mutation|query) (\w+)")
EXAMPLES = {str(OPERATION.match(block.text)[1]): block.text for block in blocks("docs/asking.md")}  # type: ignore[index]


async def created(deployment: Deployment, example: str) -> dict[str, Any]:
    payload: dict[str, Any] = (await deployment.graphql(EXAMPLES[example]))["createTask"]
    assert payload["userErrors"] == []
    return payload


async def last_state(deployment: Deployment, task_id: str) -> dict[str, Any]:
    async with subscriber(deployment.ws_url) as watcher:
        last: dict[str, Any] = (await watcher.states(task_id))[-1]
    return last


def test_every_example_is_tried_below() -> None:
    assert set(EXAMPLES) == {"Once", "Later", "First", "InOrder", "Hundreds", "Tagged"}


async def test_a_request_that_is_sent_twice_makes_one_task(deployment: Deployment) -> None:
    first, second = [await created(deployment, "Once") for _ in range(2)]
    assert (first["created"], second["created"]) == (True, False)
    assert first["task"]["id"] == second["task"]["id"]
    other = EXAMPLES["Once"].replace("Invoice 4711", "Invoice 4712")
    payload = (await deployment.graphql(other))["createTask"]
    assert payload["task"] is None
    [error] = payload["userErrors"]
    assert error["code"] == "IDEMPOTENCY_CONFLICT"
    assert first["task"]["id"] in error["message"]


async def test_a_task_for_later_waits(deployment: Deployment) -> None:
    task = (await created(deployment, "Later"))["task"]
    assert task["status"] == "PENDING"
    assert task["expiresAt"] == "2099-01-01T08:00:00.000000Z"


async def test_a_task_can_be_urgent(deployment: Deployment) -> None:
    task = (await created(deployment, "First"))["task"]
    assert task["priority"] == "HIGH"
    assert (await last_state(deployment, task["id"]))["status"] == "COMPLETED"


async def test_tasks_of_a_key_run_in_order(deployment: Deployment) -> None:
    payload = (await deployment.graphql(EXAMPLES["InOrder"]))["createTasks"]
    ids = [result["task"]["id"] for result in payload["results"]]
    for task_id in ids:
        assert (await last_state(deployment, task_id))["status"] == "COMPLETED"
    times = [await deployment.task(task_id, "startedAt finishedAt") for task_id in ids]
    for before, after in pairwise(times):
        assert before["finishedAt"] <= after["startedAt"]


async def test_a_bad_task_of_many_holds_up_no_other_and_tags_find_the_rest(deployment: Deployment) -> None:
    payload = (await deployment.graphql(EXAMPLES["Hundreds"]))["createTasks"]
    one, two, three = payload["results"]
    assert two["task"] is None
    assert [error["field"] for error in two["userErrors"]] == [["input", "tasks", "1", "title"]]
    found = (await deployment.graphql(EXAMPLES["Tagged"]))["tasks"]
    assert {task["id"] for task in found["nodes"]} == {one["task"]["id"], three["task"]["id"]}
