"""From createTask to the end of a subscription, over real sockets and real services."""

import json
from typing import Any

import httpx
import pytest

from tests.deployment import Deployment, dead_letter_of
from tests.subscriber import subscriber

LIFE = ["PENDING", "PROCESSING", "COMPLETED"]

RESULTS: list[tuple[Any, Any]] = [
    (
        {"compute": {"numbers": [10, 20, 30, 40, 50], "simulateSeconds": 0.5}},
        {"__typename": "ComputeResult", "count": 5, "sum": 150, "average": 30, "max": 50, "min": 10},
    ),
    (
        {"compute": {"numbers": []}},
        {"__typename": "ComputeResult", "count": 0, "sum": 0, "average": 0, "max": None, "min": None},
    ),
    (
        {"transform": {"text": "Hello World from SQS Processing"}},
        {
            "__typename": "TransformResult",
            "uppercase": "HELLO WORLD FROM SQS PROCESSING",
            "lowercase": "hello world from sqs processing",
            "wordCount": 5,
            "charCount": 31,
        },
    ),
    ({"reverse": {"inputData": "hello"}}, {"__typename": "ReverseResult", "outputData": "olleh"}),
    ({"countdown": {"steps": 3, "stepSeconds": 0.3}}, {"__typename": "CountdownResult", "steps": 3}),
]


@pytest.mark.parametrize(("work", "result"), RESULTS, ids=lambda value: "-".join(value)[:40])
async def test_a_task_of_each_kind_is_watched_to_its_result(
    deployment: Deployment, work: Any, result: Any
) -> None:
    async with subscriber(deployment.ws_url) as watcher:
        states = await watcher.states(await deployment.create_id("Watched", work=work))
    assert states[-1]["status"] == "COMPLETED"
    assert states[-1]["result"] == result


async def test_a_watcher_sees_pending_processing_completed(deployment: Deployment) -> None:
    async with subscriber(deployment.ws_url) as watcher:
        task_id = await deployment.create_id("Watched", work={"process": {"simulateSeconds": 1}})
        states = await watcher.states(task_id)
    statuses = list(dict.fromkeys(state["status"] for state in states))
    assert statuses in (LIFE, LIFE[1:])  # the consumer may be quicker than the subscription
    versions = [state["version"] for state in states]
    assert versions == sorted(set(versions))


async def test_a_title_alone_runs_the_process_kind(deployment: Deployment) -> None:
    async with subscriber(deployment.ws_url) as watcher:
        states = await watcher.states(await deployment.create_id("Alone", description="no more"))
    message = states[-1]["result"]["message"]
    assert message.startswith("Processed task 'Alone' at ")
    assert message.endswith(" with description: no more")


async def test_progress_reaches_the_watcher(deployment: Deployment) -> None:
    async with subscriber(deployment.ws_url) as watcher:
        task_id = await deployment.create_id(work={"countdown": {"steps": 3, "stepSeconds": 0.4}})
        states = await watcher.states(task_id)
    fractions = [state["progress"]["fraction"] for state in states if state["progress"]]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


async def test_a_failing_task_is_tried_three_times_and_leaves_a_dead_letter(deployment: Deployment) -> None:
    task_id = await deployment.create_id(work={"fail": {"message": "as asked"}})
    async with subscriber(deployment.ws_url) as watcher:
        states = await watcher.states(task_id)
    assert states[-1]["status"] == "FAILED"
    assert states[-1]["attempt"] == 3
    assert states[-1]["failure"] == {"code": "ATTEMPTS_EXHAUSTED", "message": "as asked", "retryable": True}
    attempts = (await deployment.task(task_id, "attempts { number outcome failure { message } }"))["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["RETRIED", "RETRIED", "FAILED"]
    letter = await dead_letter_of(deployment, task_id)
    assert letter["MessageAttributes"]["attempt"]["StringValue"] == "3"
    assert "as asked" in letter["MessageAttributes"]["reason"]["StringValue"]


async def test_a_permanent_failure_is_not_tried_again(deployment: Deployment) -> None:
    task_id = await deployment.create_id(work={"fail": {"message": "for good", "permanent": True}})
    async with subscriber(deployment.ws_url) as watcher:
        [*_, end] = await watcher.states(task_id)
    assert (end["status"], end["attempt"]) == ("FAILED", 1)
    assert end["failure"] == {"code": "PERMANENT", "message": "for good", "retryable": False}


async def test_a_subscription_after_the_end_gets_the_end(deployment: Deployment) -> None:
    async with subscriber(deployment.ws_url) as watcher:
        task_id = await deployment.create_id()
        [*_, end] = await watcher.states(task_id)
        assert await watcher.states(task_id) == [end]
        assert await watcher.states(task_id, after_version=end["version"]) == []


async def test_a_missing_task_gets_one_error_and_an_end(deployment: Deployment) -> None:
    async with subscriber(deployment.ws_url) as watcher:
        query = "subscription($id: ID!) { taskStatus(id: $id) { status } }"
        missing = "01890000-0000-7000-8000-000000000000"
        [result] = [result async for result in watcher.results(query, id=missing)]
    assert result["errors"][0]["extensions"]["code"] == "NOT_FOUND"


async def test_server_sent_events_bring_a_task_to_its_end(deployment: Deployment) -> None:
    task_id = await deployment.create_id(work={"countdown": {"steps": 2, "stepSeconds": 0.2}})
    query = f'subscription {{ taskStatus(id: "{task_id}") {{ status version }} }}'
    headers = {"Accept": "text/event-stream"}
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(f"{deployment.url}/graphql", json={"query": query}, headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    states = [json.loads(event)["data"]["taskStatus"] for event in events]
    assert states[-1]["status"] == "COMPLETED"
    assert "event: complete" in answer.text


async def test_the_same_idempotency_key_gives_the_same_task(deployment: Deployment) -> None:
    request = {"idempotencyKey": "order-1", "work": {"compute": {"numbers": [1]}}}
    first = await deployment.create("Once", **request)
    again = await deployment.create("Once", **request)
    other = await deployment.create("Twice", **request)
    assert (first["created"], again["created"], other["created"]) == (True, False, False)
    assert again["task"]["id"] == first["task"]["id"]
    assert other["task"] is None
    [error] = other["userErrors"]
    assert error["code"] == "IDEMPOTENCY_CONFLICT"
    assert first["task"]["id"] in error["message"]
