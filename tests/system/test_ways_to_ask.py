"""Every way to ask for work, over real processes and services: when, how soon, in order, many, and once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import httpx
import pytest

from taskql.devstack import DevStack
from taskql.limits import MEBIBYTE
from tests.deployment import START_SECONDS, Deployment, Process, free_port, is_ready, poll
from tests.subscriber import subscriber

CREATE = """
mutation ($input: CreateTaskInput!) {
  createTask(input: $input) {created task {id} userErrors {code message field}}
}
"""
CREATE_ALL = """
mutation ($input: CreateTasksInput!) {
  createTasks(input: $input) {
    results {created task {id title} userErrors {code message field}}
    userErrors {code message field}
  }
}
"""
LIST = """
query ($filter: TaskFilter) {tasks(filter: $filter, orderBy: CREATED_AT_ASC, first: 100) {
  totalCount nodes {title}
}}
"""
LAST_MOMENT = "9999-12-31T23:59:59.999999Z"


@pytest.fixture(scope="module")
async def quiet(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """An API and no consumer: nothing starts."""
    async with Deployment(stack, tmp_path_factory.mktemp("quiet")) as deployment:
        deployment.start_api()
        yield deployment


def start_another_api(deployment: Deployment) -> str:
    """One more API process of the deployment; its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    api = Process("gql", {**deployment.env, "PORT": str(port)}, deployment.folder / f"api-{port}.log")
    deployment.processes.append(api)
    poll(lambda: is_ready(url) or not api.alive, START_SECONDS)
    assert api.alive, api.said
    return url


async def create_all(deployment: Deployment, tasks: list[dict[str, Any]]) -> list[Any]:
    payload = (await deployment.graphql(CREATE_ALL, input={"tasks": tasks}))["createTasks"]
    assert payload["userErrors"] == []
    results: list[Any] = payload["results"]
    return results


async def titles(deployment: Deployment, **filter: Any) -> list[str]:
    found = (await deployment.graphql(LIST, filter=filter))["tasks"]
    return [task["title"] for task in found["nodes"]]


async def ended(deployment: Deployment, task_id: str) -> Any:
    """A task's last state, as a subscription shows it."""
    async with asyncio.timeout(START_SECONDS), subscriber(deployment.ws_url) as watcher:
        return (await watcher.states(task_id))[-1]


def ahead(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


# ---------------------------------------------------------------- when


async def test_a_task_waits_for_the_moment_that_it_was_asked_for(deployment: Deployment) -> None:
    moment = ahead(2)
    task_id = await deployment.create_id("Not yet", runAt=moment)
    assert (await ended(deployment, task_id))["status"] == "COMPLETED"
    task = await deployment.task(task_id, "startedAt runAt")
    assert task["runAt"] == moment.replace("+00:00", "Z")
    assert datetime.fromisoformat(task["startedAt"]) >= datetime.fromisoformat(moment)


async def test_a_moment_that_has_passed_means_at_once(deployment: Deployment) -> None:
    task_id = await deployment.create_id("Long ago", runAt="0001-01-01T00:00:00Z")
    assert (await ended(deployment, task_id))["status"] == "COMPLETED"


async def test_the_last_moment_there_is_holds_up_nothing_else(deployment: Deployment) -> None:
    waiting = await deployment.create_id("One day", runAt=LAST_MOMENT)
    keyed = await deployment.create_id("In time", expiresAt=LAST_MOMENT)
    assert (await ended(deployment, keyed))["status"] == "COMPLETED"
    assert await deployment.task(waiting, "status runAt") == {"status": "PENDING", "runAt": LAST_MOMENT}
    assert (await deployment.task(keyed, "expiresAt"))["expiresAt"] == LAST_MOMENT
    await deployment.graphql("mutation ($id: ID!) {cancelTask(input: {id: $id}) {task {status}}}", id=waiting)
    assert (await ended(deployment, waiting))["status"] == "CANCELLED"


async def test_a_task_that_nobody_starts_in_time_expires_for_its_watcher_too(quiet: Deployment) -> None:
    task_id = await quiet.create_id("Too late", expiresAt=ahead(2))
    async with asyncio.timeout(START_SECONDS), subscriber(quiet.ws_url) as watcher:
        *before, last = await watcher.states(task_id)
    assert {state["status"] for state in before} <= {"PENDING"}
    assert (last["status"], last["attempt"]) == ("FAILED", 0)
    assert last["failure"]["code"] == "EXPIRED"


async def test_a_task_expires_while_it_waits_for_its_moment_no_sooner_than_said(quiet: Deployment) -> None:
    expires_at = ahead(2)
    task_id = await quiet.create_id("Waits", runAt=ahead(1), expiresAt=expires_at)
    assert (await ended(quiet, task_id))["failure"]["code"] == "EXPIRED"
    task = await quiet.task(task_id, "finishedAt")
    assert datetime.fromisoformat(task["finishedAt"]) >= datetime.fromisoformat(expires_at)


async def test_an_expired_task_that_is_retried_expires_no_more(quiet: Deployment) -> None:
    task_id = await quiet.create_id("Again", expiresAt=ahead(2))
    assert (await ended(quiet, task_id))["status"] == "FAILED"
    retried = await quiet.graphql(
        "mutation ($id: ID!) {retryTask(input: {id: $id}) {task {status expiresAt}}}", id=task_id
    )
    assert retried["retryTask"]["task"] == {"status": "PENDING", "expiresAt": None}


async def test_a_request_is_repeated_safely_even_after_its_times_have_passed(quiet: Deployment) -> None:
    request = {"idempotencyKey": str(uuid4()), "runAt": ahead(1), "expiresAt": ahead(2)}
    first = await quiet.create("Once", **request)
    assert first["created"]
    await ended(quiet, first["task"]["id"])
    again = await quiet.create("Once", **request)
    assert (again["created"], again["task"]["id"]) == (False, first["task"]["id"])
    assert again["task"]["status"] == "FAILED"
    other = await quiet.create("Twice", **request)
    assert [error["code"] for error in other["userErrors"]] == ["IDEMPOTENCY_CONFLICT"]
    unknown = await quiet.create("Once", **{**request, "idempotencyKey": str(uuid4())})
    assert [error["field"] for error in unknown["userErrors"]] == [["input", "expiresAt"]]


# ---------------------------------------------------------------- how soon, and in order


@pytest.mark.parametrize("priority", ["HIGH", "NORMAL", "LOW"])
async def test_tasks_of_every_priority_are_done_and_show_it(deployment: Deployment, priority: str) -> None:
    task_id = await deployment.create_id("Urgent or not", priority=priority)
    assert (await ended(deployment, task_id))["status"] == "COMPLETED"
    assert (await deployment.task(task_id, "priority"))["priority"] == priority


async def test_tasks_of_one_key_run_one_after_another(deployment: Deployment) -> None:
    key = str(uuid4())
    work = {"process": {"simulateSeconds": 0.2}}
    created = await create_all(
        deployment, [{"title": str(number), "orderingKey": key, "work": work} for number in range(4)]
    )
    ids = [result["task"]["id"] for result in created]
    assert {state["status"] for state in [await ended(deployment, task_id) for task_id in ids]} == {
        "COMPLETED"
    }
    tasks = [await deployment.task(task_id, "orderingKey startedAt finishedAt") for task_id in ids]
    assert {task["orderingKey"] for task in tasks} == {key}
    for before, after in pairwise(tasks):
        assert before["finishedAt"] <= after["startedAt"]


# ---------------------------------------------------------------- once


async def test_of_many_racing_requests_with_one_key_one_makes_the_task(quiet: Deployment) -> None:
    urls = [quiet.url, start_another_api(quiet)]
    body = {
        "query": CREATE,
        "variables": {"input": {"title": "Once", "idempotencyKey": str(uuid4()), "tags": ["race"]}},
    }
    async with httpx.AsyncClient(timeout=30) as client:
        answers = await asyncio.gather(
            *(client.post(f"{urls[number % 2]}/graphql", json=body) for number in range(50))
        )
    payloads = [answer.json()["data"]["createTask"] for answer in answers]
    assert all(payload["userErrors"] == [] for payload in payloads)
    assert sum(payload["created"] for payload in payloads) == 1
    assert len({payload["task"]["id"] for payload in payloads}) == 1
    assert await titles(quiet, tags=["race"]) == ["Once"]


async def test_racing_batches_with_the_same_keys_in_any_order_share_their_tasks(quiet: Deployment) -> None:
    run = str(uuid4())
    tasks = [{"title": str(number), "idempotencyKey": f"{run}-{number}"} for number in range(50)]
    batches = await asyncio.gather(
        *(create_all(quiet, tasks[::-1] if number % 2 else tasks) for number in range(8))
    )
    results = [result for batch in batches for result in batch]
    assert all(result["userErrors"] == [] for result in results)
    assert sum(result["created"] for result in results) == 50
    assert len({(result["task"]["id"], result["task"]["title"]) for result in results}) == 50


async def test_a_key_that_is_repeated_within_a_batch_is_one_task(quiet: Deployment) -> None:
    key = str(uuid4())
    first, again, other = await create_all(
        quiet,
        [
            {"title": "Once", "idempotencyKey": key},
            {"title": "Once", "idempotencyKey": key},
            {"title": "Twice", "idempotencyKey": key},
        ],
    )
    assert (first["created"], again["created"], other["created"]) == (True, False, False)
    assert first["task"] == again["task"]
    [error] = other["userErrors"]
    assert (error["code"], error["field"]) == (
        "IDEMPOTENCY_CONFLICT",
        ["input", "tasks", "2", "idempotencyKey"],
    )
    single = await quiet.create("Once", idempotencyKey=key)
    assert (single["created"], single["task"]["id"]) == (False, first["task"]["id"])


# ---------------------------------------------------------------- many


async def test_five_hundred_tasks_are_stored_at_once_less_the_bad_ones(quiet: Deployment) -> None:
    bad: dict[int, dict[str, Any]] = {
        0: {"title": " "},
        77: {"tags": ["a"] * 11},
        250: {"orderingKey": "k", "priority": "LOW"},
        499: {"expiresAt": "2001-01-01T00:00:00Z"},
    }
    tasks = [{"title": str(number), "tags": ["many"], **bad.get(number, {})} for number in range(500)]
    results = await create_all(quiet, tasks)
    assert len(results) == 500
    assert [index for index, result in enumerate(results) if not result["created"]] == list(bad)
    assert [result["userErrors"][0]["field"] for result in results if result["userErrors"]] == [
        ["input", "tasks", "0", "title"],
        ["input", "tasks", "77", "tags"],
        ["input", "tasks", "250", "priority"],
        ["input", "tasks", "499", "expiresAt"],
    ]
    assert all(
        result["task"]["title"] == str(index) for index, result in enumerate(results) if index not in bad
    )
    found = (await quiet.graphql(LIST, filter={"tags": ["many"]}))["tasks"]
    assert found["totalCount"] == 496
    assert [task["title"] for task in found["nodes"]] == [
        str(number) for number in range(104) if number not in bad
    ][:100]


async def test_of_one_task_too_many_none_is_stored(quiet: Deployment) -> None:
    tasks = [{"title": "a", "tags": ["too many"]}] * 501
    payload = (await quiet.graphql(CREATE_ALL, input={"tasks": tasks}))["createTasks"]
    assert payload["results"] == []
    assert [error["field"] for error in payload["userErrors"]] == [["input", "tasks"]]
    assert await titles(quiet, tags=["too many"]) == []


async def test_a_request_that_is_too_large_is_told_how_much_it_may_be(quiet: Deployment) -> None:
    tasks = [{"title": "a", "description": "x" * 10_000}] * 110
    body = {"query": CREATE_ALL, "variables": {"input": {"tasks": tasks}}}
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(f"{quiet.url}/graphql", json=body)
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["extensions"]["code"]) == (413, "TOO_LARGE")
    assert str(MEBIBYTE) in error["message"]


# ---------------------------------------------------------------- and found again


async def test_tasks_are_found_by_tags_priority_and_ordering_key(quiet: Deployment) -> None:
    run, key = str(uuid4()), f"{uuid4()} 🚀"
    odd = "ä,{}\"\\' 🚀"
    await create_all(
        quiet,
        [
            {"title": "a", "tags": [run, "x"]},
            {"title": "b", "tags": ["x", odd, run], "priority": "HIGH"},
            {"title": "c", "tags": [run, "X"], "orderingKey": key},
            {"title": "d", "tags": ["x"], "priority": "LOW", "orderingKey": None},
        ],
    )
    assert await titles(quiet, tags=[run]) == ["a", "b", "c"]
    assert await titles(quiet, tags=[run, "x"]) == ["a", "b"]
    assert await titles(quiet, tags=["x", odd, run]) == ["b"]
    assert await titles(quiet, tags=[run, "nobody's"]) == []
    assert await titles(quiet, tags=[run], priority=["NORMAL"]) == ["a", "c"]
    assert await titles(quiet, tags=[run], priority=["HIGH", "LOW"]) == ["b"]
    assert await titles(quiet, tags=[run], priority=[]) == []
    assert await titles(quiet, orderingKey=key) == ["c"]


async def test_failed_tasks_are_redriven_by_their_tags(quiet: Deployment) -> None:
    tag = str(uuid4())
    wanted = [[tag], [tag, "not this one"], ["another"]]
    created = await create_all(
        quiet, [{"title": "a", "tags": tags, "expiresAt": ahead(2)} for tags in wanted]
    )
    for result in created:
        assert (await ended(quiet, result["task"]["id"]))["status"] == "FAILED"
    redriven = await quiet.graphql(
        "mutation ($tag: String!) {redriveTasks(input: {filter: {tags: [$tag]}}) {redriven}}", tag=tag
    )
    assert redriven["redriveTasks"] == {"redriven": 2}
    assert len(await titles(quiet, tags=[tag], status=["PENDING"])) == 2
