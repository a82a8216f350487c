"""WORKERS: several API processes on one socket."""

import os
import signal
from pathlib import Path

import psutil

from taskql.devstack import DevStack
from tests.deployment import QUICK, START_SECONDS, STOP_SECONDS, Deployment, poll


async def test_workers_share_the_port_are_replaced_and_end_together(stack: DevStack, tmp_path: Path) -> None:
    async with Deployment(stack, tmp_path, {**QUICK, "WORKERS": "2"}) as deployment:
        api = deployment.start_api()
        parent = psutil.Process(api.pid)
        first = {child.pid for child in parent.children()}
        assert len(first) == 2
        poll(lambda: api.said.count("serving http://") == 2, START_SECONDS)
        os.kill(min(first), signal.SIGKILL)
        poll(lambda: api.said.count("serving http://") == 3, START_SECONDS)
        assert {child.pid for child in parent.children()} & first == {max(first)}
        assert "a worker has ended with code -9; another one takes its place" in api.said
        task_id = await deployment.create_id()
        assert (await deployment.task(task_id))["status"] == "PENDING"

        children = parent.children()
        assert api.stop() == 0
        assert psutil.wait_procs(children, STOP_SECONDS)[1] == []


async def test_workers_that_can_not_start_say_why_and_end(stack: DevStack, tmp_path: Path) -> None:
    async with Deployment(stack, tmp_path, {**QUICK, "WORKERS": "2"}) as deployment:
        deployment.env["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/none"
        api = deployment.launch("gql")
        assert api.wait(START_SECONDS) == 1
        assert "PostgreSQL" in api.said


async def test_workers_end_with_their_parent(stack: DevStack, tmp_path: Path) -> None:
    async with Deployment(stack, tmp_path, {**QUICK, "WORKERS": "2"}) as deployment:
        api = deployment.start_api()
        children = psutil.Process(api.pid).children()
        api.kill()
        assert psutil.wait_procs(children, START_SECONDS)[1] == []
