"""A handler that kills its process fails its own task alone; one that hangs can be stopped."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from taskql.devstack import DevStack
from tests.deployment import QUICK, Deployment, poll

DEADLINE_SECONDS = 90.0
NEIGHBOURS = 9

HANDLERS = '''
"""Handlers that crash and hang on request. Files in a folder say what happens and what shall happen."""

import asyncio
import os
import time
from pathlib import Path

from pydantic import BaseModel

from taskql import TaskContext, handler


class Place(BaseModel):
    folder: str


class Out(BaseModel):
    attempt: int


@handler("neighbour")
async def neighbour(place: Place, task: TaskContext) -> Out:
    while not (Path(place.folder) / "go").exists():
        await asyncio.sleep(0.05)
    return Out(attempt=task.attempt)


@handler("crash")
def crash(place: Place, task: TaskContext) -> Out:
    wait_for(place, "crash")
    os._exit(7)


@handler("crashApart", process=True)
def crash_apart(place: Place, task: TaskContext) -> Out:
    task.progress(0.5, "about to crash")
    wait_for(place, "crash")
    os._exit(7)


@handler("hangApart", process=True)
def hang_apart(place: Place, task: TaskContext) -> Out:
    say(place, "pid", str(os.getpid()))
    wait_for(place, "go")
    return Out(attempt=task.attempt)


@handler("hangInLoop")
async def hang_in_loop(place: Place, task: TaskContext) -> Out:
    say(place, "began")
    try:
        await asyncio.Event().wait()
    finally:
        say(place, "cancelled")
    return Out(attempt=task.attempt)


@handler("hangInThread")
def hang_in_thread(place: Place, task: TaskContext) -> Out:
    say(place, "began")
    while not task.cancelled:
        time.sleep(0.05)
    say(place, "told")
    wait_for(place, "go")
    return Out(attempt=task.attempt)


def wait_for(place: Place, name: str) -> None:
    while not (Path(place.folder) / name).exists():
        time.sleep(0.05)


def say(place: Place, name: str, text: str = "") -> None:
    """Whoever sees the file sees all of it."""
    draft = Path(place.folder) / f"{name}.draft"
    draft.write_text(text)
    draft.rename(draft.with_suffix(""))
'''


@pytest.fixture(scope="module")
async def api(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    folder = tmp_path_factory.mktemp("crashers")
    (folder / "crashers.py").write_text(HANDLERS)
    settings = {**QUICK, "TASK_HANDLERS": "crashers", "PYTHONPATH": str(folder)}
    async with Deployment(stack, folder, settings) as deployment:
        deployment.start_api()
        yield deployment


@pytest.fixture
async def crashing(api: Deployment) -> AsyncIterator[Deployment]:
    """A deployment without tasks and consumers."""
    yield api
    api.kill_consumers()
    await api.forget_everything()


async def test_a_crasher_takes_its_worker_along_once_and_fails_alone(
    crashing: Deployment, tmp_path: Path
) -> None:
    [consumer] = crashing.start_consumers()
    crasher, neighbours = await side_by_side(crashing, "crash", tmp_path)
    (tmp_path / "crash").touch()
    assert await asyncio.to_thread(consumer.wait) == 7
    [consumer] = crashing.start_consumers()  # as a supervisor would
    task = await finished(crashing, crasher)
    assert (task["status"], outcomes(task)) == ("FAILED", ["LOST", "RETRIED", "FAILED"])
    assert task["failure"] == {"code": "CRASHED", "message": "The handler's process exited with code 7."}
    assert {attempt["failure"]["code"] for attempt in task["attempts"]} == {"CRASHED"}
    (tmp_path / "go").touch()
    for neighbour in neighbours:
        assert outcomes(await finished(crashing, neighbour)) == ["LOST", "COMPLETED"]
    assert consumer.alive
    [letter] = await dead_letters(crashing)
    assert (str(letter["task_id"]), letter["attempt"]) == (crasher, 3)
    assert letter["reason"].startswith("CRASHED: ")


async def test_a_crasher_in_a_process_costs_no_neighbour_an_attempt(
    crashing: Deployment, tmp_path: Path
) -> None:
    [consumer] = crashing.start_consumers()
    crasher, neighbours = await side_by_side(crashing, "crashApart", tmp_path)
    await until(lambda: reports(crashing, crasher, "about to crash"))
    (tmp_path / "crash").touch()
    task = await finished(crashing, crasher)
    assert (task["status"], outcomes(task)) == ("FAILED", ["RETRIED", "RETRIED", "FAILED"])
    assert task["failure"]["code"] == "CRASHED"
    (tmp_path / "go").touch()
    for neighbour in neighbours:
        assert outcomes(await finished(crashing, neighbour)) == ["COMPLETED"]
    assert consumer.alive


async def test_a_killed_worker_takes_its_children_along(crashing: Deployment, tmp_path: Path) -> None:
    [consumer] = crashing.start_consumers()
    await begin(crashing, "hangApart", tmp_path)
    child = told(tmp_path / "pid")
    consumer.kill()
    until_ended(child)


async def test_a_cancelled_handler_in_a_process_is_killed(crashing: Deployment, tmp_path: Path) -> None:
    [consumer] = crashing.start_consumers()
    task_id = await begin(crashing, "hangApart", tmp_path)
    child = told(tmp_path / "pid")
    assert await cancel(crashing, task_id) == "CANCELLED"
    until_ended(child)
    assert consumer.alive


async def test_a_cancelled_coroutine_is_stopped(crashing: Deployment, tmp_path: Path) -> None:
    [consumer] = crashing.start_consumers()
    task_id = await begin(crashing, "hangInLoop", tmp_path)
    told(tmp_path / "began")
    assert await cancel(crashing, task_id) == "CANCELLED"
    told(tmp_path / "cancelled")
    assert consumer.alive


async def test_a_cancelled_thread_is_told_and_its_result_thrown_away(
    crashing: Deployment, tmp_path: Path
) -> None:
    crashing.start_consumers()
    task_id = await begin(crashing, "hangInThread", tmp_path)
    told(tmp_path / "began")
    assert await cancel(crashing, task_id) == "CANCELLED"
    told(tmp_path / "told")
    (tmp_path / "go").touch()
    await finished(crashing, await begin(crashing, "neighbour", tmp_path))
    task = await crashing.task(task_id, "status attempts { outcome } result { __typename }")
    assert task == {"status": "CANCELLED", "attempts": [{"outcome": "CANCELLED"}], "result": None}


async def begin(deployment: Deployment, kind: str, folder: Path) -> str:
    return await deployment.create_id(kind, work={kind: {"folder": str(folder)}})


async def side_by_side(deployment: Deployment, kind: str, folder: Path) -> tuple[str, list[str]]:
    """A task of `kind` and its neighbours, once all of them run in the one worker."""
    crasher, *neighbours = [
        await begin(deployment, each, folder) for each in (kind, *["neighbour"] * NEIGHBOURS)
    ]

    async def all_run() -> bool:
        tasks = [await deployment.task(task_id) for task_id in (crasher, *neighbours)]
        return all(task["status"] == "PROCESSING" for task in tasks)

    await until(all_run)
    return crasher, neighbours


async def finished(deployment: Deployment, task_id: str) -> Any:
    """The task once it is terminal."""
    fields = "status isTerminal failure { code message } attempts { outcome failure { code } }"

    async def look() -> Any:
        task = await deployment.task(task_id, fields)
        return task if task["isTerminal"] else None

    return await until(look)


async def reports(deployment: Deployment, task_id: str, message: str) -> bool:
    task = await deployment.task(task_id, "progress { message }")
    return bool(task["progress"] == {"message": message})


async def cancel(deployment: Deployment, task_id: str) -> str:
    """Cancel the task; its status right after."""
    query = "mutation Cancel($id: ID!) { cancelTask(input: {id: $id}) { task { status } } }"
    return str((await deployment.graphql(query, id=task_id))["cancelTask"]["task"]["status"])


def outcomes(task: Any) -> list[str]:
    return [attempt["outcome"] for attempt in task["attempts"]]


async def dead_letters(deployment: Deployment) -> list[Any]:
    connection = await deployment.connect()
    try:
        return list(await connection.fetch("SELECT * FROM dead_letters"))
    finally:
        await connection.close()


def told(file: Path) -> str:
    """What a handler wrote into the file, once it has."""
    poll(file.exists, DEADLINE_SECONDS)
    return file.read_text()


def until_ended(pid: str) -> None:
    poll(lambda: has_ended(pid), DEADLINE_SECONDS)


def has_ended(pid: str) -> bool:
    """A zombie has, whoever may reap it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """Poll until `look` answers something true; the answer."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (answer := await look()):
            await asyncio.sleep(0.05)
    return answer
