"""The servers that are measured: ours, Strawberry as its documentation shows it, and Node's graphql-yoga."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

import asyncpg
import psutil
import redis.asyncio

from taskql.adapters.redis import RedisEventSink
from taskql.devstack import DevStack
from taskql.lifecycle import TaskStatus
from taskql.task import TaskEvent
from tests.deployment import Deployment, Process, database_url, free_port, poll, sqs_client

PEERS = Path(__file__).resolve().parent / "peers"
NODE = PEERS / "node"
SERVER_CORE, CLIENT_CORE = 0, 1
START_SECONDS, STOP_SECONDS = 60.0, 10.0
DATABASE = "peers"
TABLE = """CREATE TABLE tasks (
  id uuid PRIMARY KEY, name text NOT NULL, payload jsonb NOT NULL DEFAULT '{}',
  status text NOT NULL DEFAULT 'PENDING', result jsonb,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now())"""
CREATE = "mutation C($i: CreateTasksInput!) { createTasks(input: $i) { results { task { id } } } }"
BATCH = 500
PIPELINE = 200


class Server(Protocol):
    """One server process, and how its tasks are made and change."""

    name: str
    path: str
    port: int
    pid: int
    watch: str
    """The subscription of one task."""

    async def __aenter__(self) -> "Server": ...
    async def __aexit__(self, *error: object) -> None: ...
    async def make_tasks(self, count: int) -> list[str]: ...
    async def publish(self, ids: Iterable[str], terminal: bool = False) -> None:
        """Let Redis tell of a change of each."""
        ...


class Ours:
    """`python -m gql` with its defaults."""

    name = "TaskQL"
    path = "/graphql"
    watch = "subscription Watch($id: ID!) { taskStatus(id: $id) { id status updatedAt } }"

    def __init__(self, stack: DevStack, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.deployment = Deployment(stack, folder, settings or {})
        self._version = 1

    async def __aenter__(self) -> "Ours":
        await self.deployment.__aenter__()
        self.pid = (await asyncio.to_thread(self.deployment.start_api)).pid
        self.port = self.deployment.port
        self._sink = RedisEventSink(self.deployment.env["REDIS_URL"])
        await self._sink.__aenter__()
        pin(self.pid, SERVER_CORE)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._sink.__aexit__(None, None, None)
        await self.deployment.__aexit__(None, None, None)

    async def make_tasks(self, count: int) -> list[str]:
        ids: list[str] = []
        while len(ids) < count:
            wanted = [{"title": "Watched"}] * min(BATCH, count - len(ids))
            answer = await self.deployment.graphql(CREATE, i={"tasks": wanted})
            ids += [result["task"]["id"] for result in answer["createTasks"]["results"]]
        connection = await self.deployment.connect()
        self._owner = await connection.fetchval("SELECT owner FROM tasks WHERE id = $1", UUID(ids[0]))
        await connection.close()
        return ids

    async def publish(self, ids: Iterable[str], terminal: bool = False) -> None:
        self._version += 1
        status = TaskStatus.CANCELLED if terminal else TaskStatus.PROCESSING
        for number, task_id in enumerate(ids, 1):
            self._sink.publish(self._event(task_id, status, datetime.now(UTC)))
            if number % PIPELINE == 0:
                await asyncio.sleep(0.02)

    def _event(self, task_id: str, status: TaskStatus, now: datetime) -> TaskEvent:
        return TaskEvent(
            id=UUID(task_id), owner=self._owner, status=status, version=self._version, attempt=1,
            max_attempts=3, attempts=(), progress=None, result=None, failure=None, expires_at=None,
            updated_at=now, started_at=now, finished_at=None,
        )  # fmt: skip


class Peer:
    """A server that someone else would have written, over the same services."""

    watch = "subscription Watch($id: ID!) { taskStatus(id: $id) { id status updatedAt } }"

    def __init__(self, stack: DevStack, name: str, path: str, command: list[str], folder: Path) -> None:
        self.name, self.path = name, path
        self._stack, self._command, self._folder = stack, command, folder
        self._dsn = database_url(stack.env["DATABASE_URL"], DATABASE)

    async def __aenter__(self) -> "Peer":
        env = self._stack.env
        queue = sqs_client(env).create_queue(QueueName="peers")["QueueUrl"]
        await self._make_database()
        services = {"PG_DSN": self._dsn, "SQS_QUEUE_URL": queue, "SQS_ENDPOINT": env["AWS_ENDPOINT_URL"]}
        self._start({**os.environ, **env, **services, "AWS_DEFAULT_REGION": env["AWS_REGION"]})
        await asyncio.to_thread(poll, self._listens, START_SECONDS)
        pin(self.pid, SERVER_CORE)
        self._redis = redis.asyncio.Redis.from_url(env["REDIS_URL"])
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._redis.aclose()
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(self._process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def _start(self, env: Mapping[str, str]) -> None:
        self.port = free_port()
        self._log = self._folder / f"peer-{self.port}.log"
        command = [word.replace("PORT", str(self.port)) for word in self._command]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=PEERS, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.pid = self._process.pid

    async def _make_database(self) -> None:
        admin = await asyncpg.connect(self._stack.env["DATABASE_URL"])
        await admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        await admin.execute(f"CREATE DATABASE {DATABASE}")
        await admin.close()
        connection = await asyncpg.connect(self._dsn)
        await connection.execute(TABLE)
        await connection.close()

    def _listens(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} has ended: {self._log.read_text()[-1000:]}")
        try:
            found = psutil.Process(self.pid).net_connections("tcp")
        except psutil.Error:
            return False
        return any(each.status == psutil.CONN_LISTEN and each.laddr.port == self.port for each in found)

    async def make_tasks(self, count: int) -> list[str]:
        ids = [uuid4() for _ in range(count)]
        connection = await asyncpg.connect(self._dsn)
        rows = [(each, "Watched") for each in ids]
        await connection.copy_records_to_table("tasks", records=rows, columns=["id", "name"])
        await connection.close()
        return [str(each) for each in ids]

    async def publish(self, ids: Iterable[str], terminal: bool = False) -> None:
        now = datetime.now(UTC).isoformat()
        known = {"name": "Watched", "status": "COMPLETED" if terminal else "RUNNING"}
        pipeline = self._redis.pipeline(transaction=False)
        for number, task_id in enumerate(ids, 1):
            event = {**known, "id": task_id, "created_at": now, "updated_at": now}
            pipeline.publish(f"task:{task_id}", json.dumps(event))
            if number % PIPELINE == 0:
                await pipeline.execute()
                await asyncio.sleep(0.02)
        await pipeline.execute()


def strawberry(stack: DevStack, folder: Path) -> Peer:
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "peer_strawberry:app",
        "--host",
        "127.0.0.1",
        "--port",
        "PORT",
    ]
    quiet = ["--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools"]
    return Peer(stack, "Strawberry", "/graphql/", command + quiet, folder)


def node(stack: DevStack, folder: Path, program: str) -> Peer:
    return Peer(stack, "Node", "/graphql", [program, str(NODE / "server.mjs"), "api", "PORT"], folder)


def pin(pid: int, core: int) -> None:
    """Keep a process, with the threads that it has and will have, on a core."""
    if (os.cpu_count() or 1) > 1:
        for thread in psutil.Process(pid).threads():
            os.sched_setaffinity(thread.id, {core})


def start_consumer(server: Ours) -> Process:
    consumer = server.deployment.start_consumers()[0]
    pin(consumer.pid, CLIENT_CORE)
    return consumer
