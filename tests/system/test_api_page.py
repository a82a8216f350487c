"""docs/api.md, done as it says: every recipe is run, and does what the text around it promises."""

import asyncio
import json
import os
import re
import shutil
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from tests.deployment import ROOT, Deployment
from tests.documents import Block, blocks
from tests.subscriber import subscriber
from web.build import node_environment, set_up

BLOCKS = blocks("docs/api.md")
OPERATION = re.compile(r"(?:mutation|query|subscription) (\w+)")
RECIPES = {str(OPERATION.match(b.text)[1]): b.text for b in BLOCKS if b.language == "graphql"}  # type: ignore[index]
[CURL] = [block for block in BLOCKS if block.language == "sh"]
WATCHER, CREATOR, PAGER = [block for block in BLOCKS if block.language == "python"]
[PAGE] = [block for block in BLOCKS if block.language == "js"]
NIGHTLY = {"tags": ["nightly"]}
COUNTDOWN = {"countdown": {"steps": 2, "stepSeconds": 0.1}}


def test_every_recipe_is_tried_below() -> None:
    tried = {"WatchToken", "Updates", "Changed", "Failures", "Redrive", "Results", "Cancel"}
    assert RECIPES.keys() == tried
    assert len(BLOCKS) == len(tried) + 5


async def ran(deployment: Deployment, *command: str) -> str:
    """What a program prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=PIPE, env={**os.environ, **node_environment()}
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


def here(block: Block, deployment: Deployment) -> str:
    return block.text.replace("localhost:8000", f"127.0.0.1:{deployment.port}")


async def script(deployment: Deployment, block: Block, folder: Path, *arguments: str) -> list[str]:
    """The lines that a recipe in Python prints."""
    path = folder / "recipe.py"
    path.write_text(here(block, deployment))
    return (await ran(deployment, sys.executable, str(path), *arguments)).splitlines()


async def asked(deployment: Deployment, recipe: str, **variables: Any) -> Any:
    """What the recipe's only field answers."""
    [value] = (await deployment.graphql(RECIPES[recipe], **variables)).values()
    return value


async def ended(deployment: Deployment, task_id: str) -> Any:
    async with subscriber(deployment.ws_url) as watcher:
        return (await watcher.states(task_id))[-1]


# ---------------------------------------------------------------- watching


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
async def test_curl_creates_a_task_and_watches_it_to_its_end(deployment: Deployment) -> None:
    printed = await ran(deployment, "sh", "-ec", here(CURL, deployment))
    results = [json.loads(line[6:]) for line in printed.splitlines() if line.startswith("data: {")]
    states = [result["data"]["taskStatus"] for result in results]
    assert states[-1]["status"] == "COMPLETED"
    assert [state["version"] for state in states] == sorted({state["version"] for state in states})
    assert "event: complete" in printed


async def test_python_watches_a_task_to_its_end(deployment: Deployment, tmp_path: Path) -> None:
    task_id = await deployment.create_id(work=COUNTDOWN)
    lines = await script(deployment, WATCHER, tmp_path, task_id)
    versions = [int(line.split()[0]) for line in lines]
    assert versions == sorted(set(versions))
    assert lines[-1].split()[1] == "COMPLETED"


async def test_page_watches_with_a_watch_token(deployment: Deployment, tmp_path: Path) -> None:
    task_id = await deployment.create_id(work=COUNTDOWN)
    made = await asked(deployment, "WatchToken", id=task_id)
    assert made["userErrors"] == []
    await asyncio.to_thread(set_up)
    (tmp_path / "node_modules").symlink_to(ROOT / "web" / "node_modules")
    path = tmp_path / "page.mjs"
    path.write_text(f"const id = '{task_id}', token = '{made['token']}';\n{here(PAGE, deployment)}")
    # A browser has WebSocket; Node 20 has it behind a flag, later ones always.
    lines = await ran(deployment, "node", "--no-warnings", "--experimental-websocket", str(path))
    assert lines.splitlines()[-1].split()[0] == "COMPLETED"


async def test_what_happened_while_one_was_away_is_found_and_what_happens_now_is_told(
    deployment: Deployment,
) -> None:
    before = await asked(deployment, "Changed")
    away = await deployment.create_id("while away", **NIGHTLY)
    await ended(deployment, away)
    async with subscriber(deployment.ws_url) as watcher:
        updates = watcher.results(RECIPES["Updates"])
        first = asyncio.ensure_future(anext(updates))
        changed = {task["id"]: task for task in await everything(deployment, since=before["asOf"])}
        assert changed[away]["status"] == "COMPLETED"
        live = set()
        while not first.done():  # it listens from some moment on
            live.add(await deployment.create_id("live", **NIGHTLY))
            await asyncio.wait({first}, timeout=0.5)
        told = (await first)["data"]["taskUpdates"]
        while told["status"] != "COMPLETED":
            told = (await anext(updates))["data"]["taskUpdates"]
        assert told["id"] in live


async def everything(deployment: Deployment, since: str) -> list[Any]:
    found, after, more = [], None, True
    while more:
        page = await asked(deployment, "Changed", since=since, after=after)
        found += page["nodes"]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    return found


# ---------------------------------------------------------------- failures


async def test_failures_are_listed_with_their_reasons_and_redriven(deployment: Deployment) -> None:
    work = {"fail": {"message": "out of paper", "permanent": True}}
    ids = {await deployment.create_id("report", work=work, **NIGHTLY) for _ in range(2)}
    for task_id in ids:
        assert (await ended(deployment, task_id))["status"] == "FAILED"
    failures = await asked(deployment, "Failures")
    assert (failures["totalCount"], failures["totalCountIsExact"]) == (2, True)
    assert {task["id"] for task in failures["nodes"]} == ids
    for task in failures["nodes"]:
        assert task["failure"] == {"code": "PERMANENT", "message": "out of paper", "retryable": False}
        assert [attempt["outcome"] for attempt in task["attempts"]] == ["FAILED"]
    versions = [(await deployment.task(task_id, "version"))["version"] for task_id in ids]
    counted = await asked(deployment, "Redrive", dryRun=True)
    assert counted == {"matched": 2, "redriven": 0, "userErrors": []}
    assert versions == [(await deployment.task(task_id, "version"))["version"] for task_id in ids]
    assert await asked(deployment, "Redrive", dryRun=False) == {
        "matched": 2,
        "redriven": 2,
        "userErrors": [],
    }
    for task_id in ids:
        again = await ended(deployment, task_id)
        assert (again["status"], again["attempt"]) == ("FAILED", 2)


# ---------------------------------------------------------------- scripts


@pytest.fixture(scope="module")
async def invoices(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What the script that may be run again prints, run twice."""
    folder = tmp_path_factory.mktemp("creator")
    return [await script(deployment, CREATOR, folder) for _ in range(2)]


def test_script_that_is_run_again_creates_nothing_new(invoices: list[list[str]]) -> None:
    assert invoices == [["7 new, 7 in all"], ["0 new, 7 in all"]]


async def test_pages_show_everything_once_and_in_order(
    deployment: Deployment, invoices: list[list[str]], tmp_path: Path
) -> None:
    lines = await script(deployment, PAGER, tmp_path)
    assert [len(line.split()) for line in lines] == [3, 3, 1]
    assert " ".join(lines).split() == [f"invoice-{number}" for number in range(1, 8)]


# ---------------------------------------------------------------- one task


async def test_results_are_read_by_kind(deployment: Deployment) -> None:
    works: list[dict[str, Any]] = [
        {"compute": {"numbers": [1, 2]}},
        {"reverse": {"inputData": "abc"}},
        {"process": {}},
        COUNTDOWN,
    ]
    ids = [await deployment.create_id(work=work) for work in works]
    for task_id in ids:
        await ended(deployment, task_id)
    totals, reversed_, processed, other = [
        task["result"] for task in await asked(deployment, "Results", ids=ids)
    ]
    assert totals == {"__typename": "ComputeResult", "count": 2, "sum": 3, "average": 1.5, "max": 2}
    assert reversed_ == {"__typename": "ReverseResult", "outputData": "cba"}
    assert processed["note"].startswith("Processed task 'A task'")
    assert other == {"__typename": "CountdownResult"}


async def test_task_is_called_off_at_once(deployment: Deployment) -> None:
    task_id = await deployment.create_id(work={"countdown": {"steps": 600}})
    done = await asked(deployment, "Cancel", id=task_id)
    assert (done["task"]["status"], done["userErrors"]) == ("CANCELLED", [])
    again = await asked(deployment, "Cancel", id=task_id)
    assert [error["code"] for error in again["userErrors"]] == ["ALREADY_FINISHED"]
