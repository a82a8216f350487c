"""A server that someone else would have written, over the same services: its API, its worker, its driver."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psutil
import redis.asyncio

from bench.server import HERE, SERVER_CORE, filled, pin
from taskql.devstack import DevStack
from tests.deployment import database_url, free_port, poll, sqs_client

PEERS = HERE / "peers"
START_SECONDS, STOP_SECONDS = 60.0, 10.0
DATABASE = "peers"
TABLE = """CREATE TABLE tasks (
  id uuid PRIMARY KEY, name text NOT NULL, payload jsonb NOT NULL DEFAULT '{}',
  status text NOT NULL DEFAULT 'PENDING', result jsonb,
  created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now())"""
PIPELINE = 200


@dataclass(frozen=True, kw_only=True)
class Program:
    """What a peer's processes are started with. PORT stands for the API's port."""

    name: str
    profile: str = "graphql-peer"
    path: str = "/graphql"
    api: tuple[str, ...] = ()
    worker: tuple[str, ...] = ()
    worker_says: bytes = b""
    """What it says as soon as it receives, if it says anything."""
    before: tuple[str, ...] = ()
    """A command to run once on the empty database."""
    driver: tuple[str, ...] = ()
    """What enqueues and waits, where there is no API."""
    queue: str | None = None
    """The queue's name where the peer insists on one."""


class Peer:
    """One that runs, on a database and a queue of its own."""

    watch = "subscription Watch($id: ID!) { taskStatus(id: $id) { id status updatedAt } }"

    def __init__(self, stack: DevStack, folder: Path, program: Program) -> None:
        self.name, self.path = program.name, program.path
        self.driver = program.driver
        self._program, self._stack, self._folder = program, stack, folder
        self._dsn = database_url(stack.env["DATABASE_URL"], DATABASE)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    async def __aenter__(self) -> "Peer":
        env = self._stack.env
        self._sqs = sqs_client(env)
        queue = self._program.queue or f"peers-{uuid4().hex[:8]}"
        self._queue = self._sqs.create_queue(QueueName=queue)["QueueUrl"]
        await self._make_database()
        self.env: Mapping[str, str] = {
            **os.environ,
            **env,
            "PG_DSN": self._dsn,
            "SQS_QUEUE_URL": self._queue,
            "SQS_ENDPOINT": env["AWS_ENDPOINT_URL"],
            "PYTHONPATH": str(PEERS),
            "PYTHONUNBUFFERED": "1",
            "NODE_ENV": "production",
        }
        self._redis = redis.asyncio.Redis.from_url(env["REDIS_URL"])
        try:
            if self._program.before:
                await asyncio.to_thread(self._run_once, self._program.before)
            if self._program.api:
                await self._start_api()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        for process in self._processes.values():
            await asyncio.to_thread(end, process)
        await self._redis.aclose()
        self._sqs.delete_queue(QueueUrl=self._queue)

    async def _start_api(self) -> None:
        self.port = free_port()
        self.pid = self._start("server", [word.replace("PORT", str(self.port)) for word in self._program.api])
        await asyncio.to_thread(poll, self._listens, START_SECONDS)
        pin(self.pid, SERVER_CORE)

    async def start_worker(self) -> None:
        self._start("worker", list(self._program.worker))
        await asyncio.to_thread(poll, self._works, START_SECONDS)

    @property
    def pids(self) -> dict[str, int]:
        return {role: process.pid for role, process in self._processes.items()}

    @property
    def profile(self) -> dict[str, Any]:
        return filled(self._program.profile, {
            "port": str(self.port), "path": self.path, "database": self._dsn, "redis": self.env["REDIS_URL"],
        })  # fmt: skip

    def _start(self, role: str, command: list[str]) -> int:
        with self._log(role).open("wb") as log:
            self._processes[role] = subprocess.Popen(
                command, cwd=PEERS, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self._processes[role].pid

    def _log(self, role: str) -> Path:
        return self._folder / f"{self.name.replace(' ', '-')}-{role}.log"

    def _run_once(self, command: tuple[str, ...]) -> None:
        done = subprocess.run(command, cwd=PEERS, env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {done.stderr[-1000:]}")

    async def _make_database(self) -> None:
        admin = await asyncpg.connect(self._stack.env["DATABASE_URL"])
        await admin.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        await admin.execute(f"CREATE DATABASE {DATABASE}")
        await admin.close()
        connection = await asyncpg.connect(self._dsn)
        await connection.execute(TABLE)
        await connection.close()

    def _listens(self) -> bool:
        self._require("server")
        try:
            found = psutil.Process(self.pid).net_connections("tcp")
        except psutil.Error:
            return False
        return any(each.status == psutil.CONN_LISTEN and each.laddr.port == self.port for each in found)

    def _works(self) -> bool:
        self._require("worker")
        return self._program.worker_says in self._log("worker").read_bytes()

    def _require(self, role: str) -> None:
        if self._processes[role].poll() is not None:
            raise RuntimeError(f"{self.name}'s {role} has ended: {self._log(role).read_text()[-1000:]}")

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


def end(process: subprocess.Popen[bytes]) -> None:
    """End it, and the children that it has not ended itself."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        children = []
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)
    for child in children:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
