"""The scripts in examples/, run as their readers run them. The pages there have tests in tests/browser."""

import asyncio
import os
import re
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import pytest

from taskql.devstack import DevStack
from tests.deployment import ROOT, Deployment, free_port

FOLLOW = ROOT / "examples" / "follow-curl" / "follow.sh"
THOUSAND = ROOT / "examples" / "thousand" / "thousand.py"
COUNT = 200
END_SECONDS = 60


async def start(*command: object, env: Mapping[str, str] | None = None) -> Process:
    return await asyncio.create_subprocess_exec(
        *map(str, command), stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env={**os.environ, **(env or {})}
    )


async def end(process: Process) -> tuple[int | None, str, str]:
    """Its exit code and what it said on each stream."""
    try:
        async with asyncio.timeout(END_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, out.decode(), err.decode()


async def follow(url: str, *arguments: str) -> tuple[int | None, str, str]:
    return await end(await start_following(url, *arguments))


async def start_following(url: str, *arguments: str) -> Process:
    if not shutil.which("curl"):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("there is no curl")
    return await start(FOLLOW, *arguments, env={"TASKQL_URL": url})


async def thousand(deployment: Deployment, run: str) -> tuple[int | None, str, str]:
    return await end(await fire(deployment.url, run))


async def fire(url: str, run: str) -> Process:
    return await start(sys.executable, THOUSAND, "--url", url, "--count", COUNT, "--run", run)


async def tasks_of(deployment: Deployment, run: str) -> int:
    query = "query Count($title: String!) { tasks(filter: {titleContains: $title}) { totalCount } }"
    return int((await deployment.graphql(query, title=run))["tasks"]["totalCount"])


async def until_there_are_tasks(deployment: Deployment, run: str) -> None:
    async with asyncio.timeout(END_SECONDS):
        while await tasks_of(deployment, run) == 0:
            await asyncio.sleep(0.01)


@pytest.fixture
def run() -> str:
    """A name that no other run has."""
    return f"example-{uuid4().hex}"


async def test_curl_follows_a_countdown_to_its_result(deployment: Deployment) -> None:
    code, out, err = await follow(deployment.url, "countdown: {steps: 3, stepSeconds: 0.2}")

    assert (code, err) == (0, "")
    assert re.fullmatch(
        r"Task [0-9a-f-]{36}\n(PENDING  \n)?(PROCESSING  .*\n)+COMPLETED  3 of 3\n{\"steps\":3}\n", out
    )


async def test_curl_tells_why_a_task_failed(deployment: Deployment) -> None:
    code, out, _ = await follow(deployment.url, 'fail: {permanent: true, message: "no \\"luck\\""}')

    assert code == 1
    assert out.endswith("FAILED  no 'luck'\n")


@pytest.mark.parametrize(
    ("work", "complaint"),
    [("countdown: {steps: 0}", "greater than or equal to 1"), ("nope: {}", "unknown field 'nope'")],
)
async def test_curl_tells_what_was_refused(deployment: Deployment, work: str, complaint: str) -> None:
    code, out, err = await follow(deployment.url, work)

    assert (code, out) == (1, "")
    assert complaint in err


async def test_curl_sends_any_title_as_it_is(deployment: Deployment, run: str) -> None:
    title = f"{run} \"quoted\" \\n 'ünïcode' $HOME `id`"
    code, out, _ = await follow(deployment.url, 'reverse: {inputData: "{a}"}', title)

    assert (code, out.splitlines()[-1]) == (0, '{"outputData":"}a{"}')
    task_id = out.split()[1]
    assert (await deployment.task(task_id, "title"))["title"] == title


async def test_scripts_say_so_if_nobody_is_there(run: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for code, _, err in (await follow(url), await end(await fire(url, run))):
        assert code == 1
        assert f"there is no TaskQL at {url}" in err


async def test_second_run_of_the_same_name_makes_no_second_tasks(deployment: Deployment, run: str) -> None:
    code, out, err = await thousand(deployment, run)
    assert (code, err.splitlines()[-1]) == (0, "100 % ended")
    assert f"{COUNT} new, 0 there already\n{COUNT} COMPLETED\n" in out

    code, out, _ = await thousand(deployment, run)
    assert code == 0
    assert f"0 new, {COUNT} there already\n{COUNT} COMPLETED\n" in out
    assert await tasks_of(deployment, run) == COUNT


async def test_run_killed_in_the_middle_is_completed_by_the_next(deployment: Deployment, run: str) -> None:
    first = await fire(deployment.url, run)
    async with asyncio.timeout(END_SECONDS):
        while not await tasks_of(deployment, run) > 0:
            await asyncio.sleep(0.01)
    first.kill()
    await end(first)
    there = await tasks_of(deployment, run)
    assert there < COUNT

    code, out, _ = await thousand(deployment, run)

    assert code == 0
    assert f"{COUNT} COMPLETED\n" in out
    assert await tasks_of(deployment, run) == COUNT


async def test_scripts_outlive_an_api_that_is_killed_meanwhile(
    stack: DevStack, tmp_path: Path, run: str
) -> None:
    async with Deployment(stack, tmp_path) as deployment:
        api = deployment.start_api()
        deployment.start_consumers()
        follower = await start_following(deployment.url, "countdown: {steps: 4}", run)
        await until_there_are_tasks(deployment, run)
        firing = await fire(deployment.url, f"{run}-fired")
        await until_there_are_tasks(deployment, f"{run}-fired")
        api.kill()
        deployment.start_api()

        code, out, err = await end(firing)
        assert code == 0, err
        assert f"{COUNT} COMPLETED\n" in out
        assert await tasks_of(deployment, f"{run}-fired") == COUNT

        code, out, err = await end(follower)
        assert code == 0, err
        assert "COMPLETED  4 of 4\n" in out
