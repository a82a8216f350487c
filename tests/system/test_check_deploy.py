"""Handlers that change while tasks wait for them: `python -m taskql check-deploy`, and kinds nobody knows."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping

import pytest

from taskql.devstack import DevStack
from tests.deployment import QUICK, ROOT, START_SECONDS, Deployment
from tests.subscriber import subscriber

NEWER = {"TASK_HANDLERS": "tests.system.newer_kinds"}
DEADLINE_SECONDS = 90.0


@pytest.fixture(scope="module")
async def site(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """An API that knows a newer kind, and no consumer yet."""
    settings = QUICK | {"TASKQL_UNKNOWN_KIND_SECONDS": "1"} | NEWER
    async with Deployment(stack, tmp_path_factory.mktemp("site"), settings) as site:
        site.start_api()
        yield site


def check_deploy(site: Deployment, handlers: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command with the database's setting, and no other but the handlers."""
    needed = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return subprocess.run(
        [sys.executable, "-m", "taskql", "check-deploy"],
        cwd=ROOT,
        env={**needed, "DATABASE_URL": site.env["DATABASE_URL"], **handlers},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


async def test_what_waits_is_held_against_the_handlers_and_what_nobody_knows_is_given_up(
    site: Deployment,
) -> None:
    waiting = await site.create_id(work={"promise": {"count": 1}}, orderingKey="line")
    following = await site.create_id(work={"reverse": {"inputData": "abc"}}, orderingKey="line")

    fine = check_deploy(site, NEWER)
    assert fine.stdout == "nothing would break: looked at 2 waiting tasks and 0 stored results\n"
    assert (fine.returncode, fine.stderr) == (0, "")

    broken = check_deploy(site, {})
    assert broken.stdout == (
        "this would break (looked at 2 waiting tasks and 0 stored results):\n"
        f"promise: 1 task waiting, and no handler has this kind ({waiting})\n"
    )
    assert (broken.returncode, broken.stderr) == (1, "")

    site.env["TASK_HANDLERS"] = ""
    site.start_consumers()
    async with asyncio.timeout(DEADLINE_SECONDS), subscriber(site.ws_url) as watcher:
        states = await watcher.states(waiting)
        assert [state["status"] for state in states] == ["PENDING", "FAILED"]
        assert (await watcher.states(following))[-1]["status"] == "COMPLETED"
    failed = await site.task(waiting, "attempt failure { code retryable message }")
    assert (failed["attempt"], failed["failure"]["code"]) == (0, "UNKNOWN_KIND")
    assert failed["failure"]["retryable"]
    assert "the kind 'promise'" in failed["failure"]["message"]
