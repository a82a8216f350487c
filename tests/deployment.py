"""A deployment for tests: real API and consumer processes over real services, with a database and queues of
its own, so that several stand side by side.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import boto3
import httpx

from taskql.devstack import DevStack

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 90.0
STOP_SECONDS = 60.0

TEMPLATE = "deployed"

QUICK = {
    "TASKQL_VISIBILITY_SECONDS": "6",
    "TASKQL_HEARTBEAT_SECONDS": "1",
    "TASKQL_RESEND_SECONDS": "3",
    "TASKQL_POLL_SECONDS": "1",
    "TASKQL_DRAIN_SECONDS": "5",
}
"""Shorter spans than in production, so that loss and rescue are over soon."""

QUEUES = {
    "SQS_QUEUE_URL": "",
    "SQS_HIGH_QUEUE_URL": "-high",
    "SQS_LOW_QUEUE_URL": "-low",
    "SQS_FIFO_QUEUE_URL": ".fifo",
    "SQS_DLQ_URL": "-dlq",
    "SQS_FIFO_DLQ_URL": "-dlq.fifo",
}
"""How the name of each queue ends; it begins with the deployment's."""


class Process:
    """One process of ours, with what it said so far."""

    def __init__(self, module: str, env: Mapping[str, str], log: Path) -> None:
        self.module = module
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self.pid = self._process.pid

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """The exit code."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """End it as an operator would; the exit code."""
        if self.alive:
            self._process.terminate()
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Deployment:
    """API and consumers on a started DevStack."""

    def __init__(self, stack: DevStack, folder: Path, settings: Mapping[str, str] = QUICK) -> None:
        self.name = f"test_{uuid4().hex[:12]}"
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}/graphql"
        self.processes: list[Process] = []
        self._stack = stack
        self._settings = settings
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(60, pool=None))  # hundreds at once take turns

    async def __aenter__(self) -> Self:
        self.env = {
            **self._stack.env,
            "DATABASE_URL": database_url(self._stack.env["DATABASE_URL"], self.name),
            **self.make_queues(),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            **self._settings,
        }
        await self._make_database()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            if process.alive:
                process.kill()
        await self._client.aclose()

    async def _make_database(self) -> None:
        """Its migrated database: `taskql migrate` makes a stack's first one, and the others are copies."""
        admin = await asyncpg.connect(self._stack.env["DATABASE_URL"])
        try:
            if await admin.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", TEMPLATE):
                await admin.execute(f"CREATE DATABASE {self.name} TEMPLATE {TEMPLATE}")
                return
            await admin.execute(f"CREATE DATABASE {self.name}")
            self.run("taskql", "migrate")
            with suppress(
                asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError
            ):  # another deployment was as early
                await admin.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE {self.name}")
        finally:
            await admin.close()

    def make_queues(self) -> dict[str, str]:
        """Its queues, again after an emulator that was killed has forgotten them."""
        self.sqs = sqs_client(self._stack.env)
        names = {setting: self.name + ending for setting, ending in QUEUES.items()}
        return {
            setting: self.sqs.create_queue(QueueName=queue, Attributes=kind(queue))["QueueUrl"]
            for setting, queue in names.items()
        }

    def run(self, module: str, *arguments: str, seconds: float = START_SECONDS) -> str:
        """Run a command of ours to its end; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start_api(self) -> Process:
        """Start the API and wait until it is ready."""
        api = self.launch("gql")
        poll(lambda: is_ready(self.url) or not api.alive, START_SECONDS)
        assert api.alive, api.said
        return api

    def start_consumers(self, count: int = 1) -> list[Process]:
        """Start consumers and wait until they receive."""
        consumers = [self.launch("consumer") for _ in range(count)]
        for consumer in consumers:
            poll(partial(has_started, consumer), START_SECONDS)
            assert consumer.alive, consumer.said
        return consumers

    def kill_consumers(self) -> None:
        for process in self.processes:
            if process.module == "consumer" and process.alive:
                process.kill()

    async def forget_everything(self) -> None:
        """Empty the tables and the queues."""
        connection = await self.connect()
        try:
            await connection.execute("TRUNCATE tasks, dispatch, dead_letters, watermarks, orderings")
        finally:
            await connection.close()
        for url in self.make_queues().values():
            self.sqs.purge_queue(QueueUrl=url)

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.env["DATABASE_URL"])

    async def graphql(self, query: str, **variables: Any) -> Any:
        """The data that the API answers."""
        body = {"query": query, "variables": variables}
        answer = (await self._client.post(f"{self.url}/graphql", json=body)).json()
        assert "errors" not in answer, answer
        return answer["data"]

    async def create(self, title: str = "A task", **input: Any) -> Any:
        """Create a task; the payload."""
        query = (
            "mutation Create($input: CreateTaskInput!) { createTask(input: $input) "
            "{ created task { id status version } userErrors { code field message } } }"
        )
        return (await self.graphql(query, input={"title": title, **input}))["createTask"]

    async def create_id(self, title: str = "A task", **input: Any) -> str:
        payload = await self.create(title, **input)
        assert payload["userErrors"] == []
        return str(payload["task"]["id"])

    async def task(self, task_id: str, fields: str = "status") -> Any:
        return (await self.graphql(f"query One($id: ID!) {{ task(id: $id) {{ {fields} }} }}", id=task_id))[
            "task"
        ]

    def launch(self, module: str) -> Process:
        """Start a process without waiting for it."""
        number = sum(process.module == module for process in self.processes)
        process = Process(module, self.env, self.folder / f"{module}-{self.name}-{number}.log")
        self.processes.append(process)
        return process


async def dead_letter_of(deployment: Deployment, task_id: str) -> Any:
    """The message about a task that the dead-letter queue holds."""
    for _ in range(30):
        found = deployment.sqs.receive_message(
            QueueUrl=deployment.env["SQS_DLQ_URL"],
            MessageAttributeNames=["All"],
            MaxNumberOfMessages=10,
            WaitTimeSeconds=1,
        )
        for message in found.get("Messages", []):
            if message["MessageAttributes"]["task_id"]["StringValue"] == task_id:
                return message
    raise AssertionError(f"no dead letter of task {task_id}")


def kind(queue: str) -> dict[str, str]:
    return {"FifoQueue": "true"} if queue.endswith(".fifo") else {}


def sqs_client(env: Mapping[str, str]) -> Any:
    return aws_client("sqs", env)


def aws_client(service: str, env: Mapping[str, str]) -> Any:
    return boto3.client(
        service,
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )


def database_url(url: str, database: str) -> str:
    """The same server's other database."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def has_started(consumer: Process) -> bool:
    """Whether it receives, or has ended and never will."""
    return "ready" in consumer.said or not consumer.alive


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def poll(met: Callable[[], object], seconds: float) -> None:
    """Look until `met` answers something true. What other processes do can only be polled."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
