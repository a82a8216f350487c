"""TaskQL as it is measured: `python -m gql` and `python -m consumer`, their defaults and all limits on."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from bench.server import SERVER_CORE, filled, pin
from taskql.adapters.redis import RedisEventSink
from taskql.devstack import DevStack
from taskql.lifecycle import TaskStatus
from taskql.task import TaskEvent
from tests.deployment import QUEUES, Deployment

CREATE = "mutation C($i: CreateTasksInput!) { createTasks(input: $i) { results { task { id } } } }"
BATCH = 500
PIPELINE = 200
SECRET = "a-secret-of-the-benchmark-that-nobody-has-to-guess"
OWNER_WITH_TOKEN, OWNER_WITHOUT = "bench", "local"
TOKEN_SECONDS = 24 * 3600
LIMIT_THAT_IS_OFF = {"TASKQL_RATE_LIMIT": "1000000"}
"""The others are on by default. Requests are counted, but there are never so many a second."""


class Ours:
    """An API on a database and queues of its own, and consumers when they are asked for."""

    name = "TaskQL"
    path = "/graphql"
    watch = "subscription Watch($id: ID!) { taskStatus(id: $id) { id status updatedAt } }"

    def __init__(
        self,
        stack: DevStack,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        auth: bool = False,
        pinned: bool = True,
    ) -> None:
        token = {"AUTH": "jwt", "JWT_SECRET": SECRET} if auth else {}
        self.deployment = Deployment(stack, folder, {**LIMIT_THAT_IS_OFF, **token, **(settings or {})})
        self._stack = stack
        self._auth, self._pinned = auth, pinned
        self._owner = OWNER_WITH_TOKEN if auth else OWNER_WITHOUT
        self._version = 1

    async def __aenter__(self) -> "Ours":
        await self.deployment.__aenter__()
        async with AsyncExitStack() as opened:
            opened.push_async_callback(self._remove)
            opened.push_async_exit(self.deployment)
            began = time.perf_counter()
            self.pid = (await asyncio.to_thread(self.deployment.start_api)).pid
            self.start_seconds = time.perf_counter() - began
            self.port = self.deployment.port
            self._consumers: list[int] = []
            self._sink = RedisEventSink(self.deployment.env["REDIS_URL"])
            await opened.enter_async_context(self._sink)
            if self._pinned:
                pin(self.pid, SERVER_CORE)
            self._opened = opened.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._opened.aclose()

    async def _remove(self) -> None:
        """Its database and queues: what is over must not cost the next one anything."""
        admin = await asyncpg.connect(self._stack.env["DATABASE_URL"])
        await admin.execute(f"DROP DATABASE IF EXISTS {self.deployment.name} WITH (FORCE)")
        await admin.close()
        for setting in QUEUES:
            with suppress(self.deployment.sqs.exceptions.ClientError):
                self.deployment.sqs.delete_queue(QueueUrl=self.deployment.env[setting])

    async def start_worker(self, count: int = 1) -> None:
        consumers = await asyncio.to_thread(self.deployment.start_consumers, count)
        self._consumers = [each.pid for each in consumers]

    async def stop_worker(self) -> None:
        for process in self.deployment.processes:
            if process.module == "consumer":
                await asyncio.to_thread(process.stop)
        self._consumers = []

    @property
    def pids(self) -> dict[str, int]:
        names = ("worker", *(f"worker {number}" for number in range(2, 10)))
        return {"server": self.pid, **dict(zip(names, self._consumers, strict=False))}

    @property
    def profile(self) -> dict[str, Any]:
        profile = filled("ours", {
            "port": str(self.port), "path": self.path, "owner": self._owner,
            "database": self.deployment.env["DATABASE_URL"], "redis": self.deployment.env["REDIS_URL"],
        })  # fmt: skip
        if self._auth:
            profile["headers"] = {"authorization": f"Bearer {token()}"}
        return profile

    async def make_tasks(self, count: int) -> list[str]:
        ids: list[str] = []
        while len(ids) < count:
            wanted = [{"title": "Watched"}] * min(BATCH, count - len(ids))
            answer = await self.deployment.graphql(CREATE, i={"tasks": wanted})
            ids += [result["task"]["id"] for result in answer["createTasks"]["results"]]
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


def token() -> str:
    """A JWT that the API lets in, signed with its secret."""
    claims = {
        "sub": OWNER_WITH_TOKEN,
        "scope": "tasks:read tasks:write",
        "exp": int(time.time()) + TOKEN_SECONDS,
    }
    parts = (json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signed = b".".join(map(url_safe, parts))
    signature = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + url_safe(signature)).decode()


def url_safe(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
