"""README.md, done as it says: every block is run, with the deployment's address in place of the usual one."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from taskql.devstack import DevStack
from tests.deployment import QUICK, ROOT, Deployment
from tests.documents import Block, blocks
from tests.subscriber import subscriber
from web.build import node_environment, set_up

USUAL = "localhost:8000"
BLOCKS = blocks("README.md")
CURL = [block for block in BLOCKS if block.text.startswith("curl ")]
MAKE = [block for block in BLOCKS if "make " in block.text and block.language == "sh"]
[VERIFY] = [block for block in BLOCKS if "taskql verify" in block.text]
[CLIENT] = [block for block in BLOCKS if block.language == "python" and "httpx" in block.text]
HELLO = {
    "greeting.py": "@handler",
    "test_greeting.py": "perform_sync",
    "conftest.py": "pytest_plugins",
    "pytest.ini": "[pytest]",
}
"""The author's files, and what tells the block of each."""
AUTHORED = {
    name: next(block for block in BLOCKS if mark in block.text and block.language in ("python", "ini"))
    for name, mark in HELLO.items()
}
[FOLLOW] = [block for block in BLOCKS if "follow.sh" in block.text]
[TEST_RUN] = [block for block in BLOCKS if "-m pytest" in block.text]
[PAGE] = [block for block in BLOCKS if block.language == "js"]
[GREET] = [block for block in BLOCKS if block.language == "graphql"]


def test_every_block_is_tried_below() -> None:
    tried = [*CURL, *MAKE, VERIFY, CLIENT, *AUTHORED.values(), FOLLOW, PAGE, GREET]
    assert sorted(block.text for block in tried) == sorted(block.text for block in BLOCKS)


@pytest.mark.parametrize("block", MAKE, ids=lambda block: block.text.strip())
def test_the_make_commands_exist(block: Block) -> None:
    [target] = re.findall(r"make (\w+)", block.text)
    assert run(["make", "--dry-run", "--always-make", target], {}) != ""


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: apt-get install curl")
async def test_the_curl_commands_create_a_task_and_read_its_result(deployment: Deployment) -> None:
    create, read = CURL
    created = json.loads(run(["sh", "-c", here(create, deployment)], {}))["data"]["createTask"]
    assert created["userErrors"] == []
    async with subscriber(deployment.ws_url) as watcher:
        await watcher.states(created["task"]["id"])
    [task] = json.loads(run(["sh", "-c", here(read, deployment)], {}))["data"]["tasks"]["nodes"]
    assert task["result"] == {"sum": 150, "average": 30, "max": 50, "min": 10}


async def test_the_python_client_follows_its_task_to_the_end(deployment: Deployment, tmp_path: Path) -> None:
    script = tmp_path / "client.py"
    script.write_text(here(CLIENT, deployment))
    printed = await asyncio.to_thread(run, [sys.executable, str(script)], {})
    assert "'COMPLETED'" in printed.splitlines()[-1]


async def test_the_page_s_code_follows_its_task_to_the_end(deployment: Deployment, tmp_path: Path) -> None:
    await asyncio.to_thread(set_up)
    (tmp_path / "node_modules").symlink_to(ROOT / "web" / "node_modules")
    script = tmp_path / "page.mjs"
    script.write_text(here(PAGE, deployment))
    # A browser has WebSocket; Node 20 has it behind a flag, later ones always.
    command = ["node", "--no-warnings", "--experimental-websocket", str(script)]
    printed = await asyncio.to_thread(run, command, node_environment())
    assert "COMPLETED" in printed.splitlines()[-1]


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    """The author's folder, in one that has what they need of the checkout."""
    for name in ("taskql", "gql", "consumer", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    folder = tmp_path / "hello"
    folder.mkdir()
    for name, block in AUTHORED.items():
        (folder / name).write_text(block.text)
    return folder


async def test_the_handler_is_typed_run_and_watched(stack: DevStack, hello: Path, tmp_path: Path) -> None:
    settings = {**QUICK, "TASK_HANDLERS": "greeting", "PYTHONPATH": str(hello)}
    async with Deployment(stack, tmp_path, settings) as deployment:
        deployment.start_api()
        deployment.start_consumers()
        created = (await deployment.graphql(GREET.text))["createTask"]
        assert created["userErrors"] == []
        task_id = created["task"]["id"]
        async with subscriber(deployment.ws_url) as watcher:
            await watcher.states(task_id)
        task = await deployment.task(task_id, "result { ... on GreetResult { text } }")
        assert task["result"] == {"text": "Hello, Ada! Hello, Ada!"}
        follow = ["sh", "-c", FOLLOW.text]
        followed = await asyncio.to_thread(run, follow, {"TASKQL_URL": deployment.url})
        assert followed.endswith('COMPLETED  clearing the throat\n{"text":"Hello, Ada! Hello, Ada!"}\n')


async def test_the_handler_s_tests_pass(hello: Path) -> None:
    command = TEST_RUN.text.replace("make setup && ", "").replace(".venv/bin/python", sys.executable)
    env = {"PYTEST_ADDOPTS": "-p no:cacheprovider"}
    printed = await asyncio.to_thread(run, ["sh", "-c", command], env, hello.parent)
    assert "3 passed" in printed


async def test_verify_says_that_the_deployment_works(deployment: Deployment) -> None:
    command = here(VERIFY, deployment).replace(".venv/bin/python", sys.executable)
    assert "compute" in await asyncio.to_thread(run, ["sh", "-c", command], {})


def here(block: Block, deployment: Deployment) -> str:
    """A block's text, for this deployment."""
    assert USUAL in block.text
    return block.text.replace(USUAL, f"127.0.0.1:{deployment.port}")


def run(command: list[str], env: Mapping[str, str], folder: Path = ROOT) -> str:
    """What a command prints; it must succeed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
