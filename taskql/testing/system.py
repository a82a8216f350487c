"""The whole system for handlers' tests: real services, the API and a consumer, in a folder of their own.

Invariant: it ends with the process that started it, and touches nobody's data.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from taskql.client import Client
from taskql.task import Progress
from taskql.testing.selection import TYPES, Types

START_SECONDS = 120.0
LOOK_SECONDS = 0.05
STOP_SECONDS = 60.0
END_SECONDS = 60.0
DEV_OPTIONS = ("--end-with-parent", "--data=data")
RUNNING = "TaskQL is running."

CREATE = """mutation Create($input: CreateTaskInput!) {
  createTask(input: $input) { task { id } userErrors { code field message } }
}"""
WATCH = "subscription Watch($id: ID!) { taskStatus(id: $id) { progress { fraction message } } }"
TASK = "query Task($id: ID!) { task(id: $id) { %s } }"
END = "status attempt input failure { code message retryable }"
UNIONS = ("result", "failureDetail")
"""The fields of a task whose type its kind decides."""

Json = Any


class NotStarted(Exception):
    """The system did not start; the text is all that it said."""


class Refused(Exception):
    """`createTask` refused the task; `errors` are its userErrors."""

    def __init__(self, errors: Json) -> None:
        super().__init__("; ".join(f"{'.'.join(each['field'] or [])}: {each['message']}" for each in errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Finished:
    """A task that has ended, as clients see it; `progress` is what a watcher saw on the way.

    `result` and `failure_detail` have all their fields, and their GraphQL type as `__typename`; models that
    hold themselves have four levels.
    """

    id: str
    status: str
    attempt: int
    input: Json
    result: Json
    failure: Json
    failure_detail: Json
    progress: tuple[Progress, ...]


class System:
    """`python -m taskql dev` with the handlers of some modules. Start and stop it with `with`.

    Enter it in a thread that lives as long as the process (the main thread): the system ends with it.
    """

    def __init__(self, modules: Sequence[str], folder: Path) -> None:
        self._modules = modules
        self._folder = folder
        self._log = folder / "output"
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "taskql", "dev", *DEV_OPTIONS, f"--port={self._port}"],
                cwd=self._folder, env=self._environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        try:
            self._await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def said(self) -> str:
        """What the services, the API and the consumer have said so far."""
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()  # what it started ends with it
            self._process.wait()

    async def run(
        self, kind: str, work: Json = None, *, within: float = END_SECONDS, **wish: Json
    ) -> Finished:
        """Create a task, watch it to its end, `within` so many seconds, and read it.

        `work` is the kind's input and `wish` the rest of CreateTaskInput, by the names that clients use.
        Raises Refused where `createTask` answers with userErrors.
        """
        async with Client(self.url) as client:
            task_id = await self._create(client, {"title": "A test", "work": {kind: work or {}}, **wish})
            progress = await self._watch(client, task_id, within)
            return await finished(client, task_id, progress)

    def run_sync(
        self, kind: str, work: Json = None, *, within: float = END_SECONDS, **wish: Json
    ) -> Finished:
        """`run`, for tests that are plain functions."""
        return asyncio.run(self.run(kind, work, within=within, **wish))

    async def _create(self, client: Client, wish: Json) -> str:
        payload = (await client.ask(CREATE, input=wish))["createTask"]
        if payload["userErrors"]:
            raise Refused(payload["userErrors"])
        return str(payload["task"]["id"])

    async def _watch(self, client: Client, task_id: str, within: float) -> tuple[Progress, ...]:
        seen: dict[Progress, None] = {}
        try:
            async with asyncio.timeout(within):
                async for answer in client.watch(WATCH, id=task_id):
                    if reported := answer["taskStatus"]["progress"]:
                        seen[Progress(**reported)] = None
        except TimeoutError:
            raise AssertionError(
                f"task {task_id} has not ended within {within:g} s; the system said:\n{self.said}"
            ) from None
        return tuple(seen)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while RUNNING not in self.said:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NotStarted(f"TaskQL did not start. It said:\n{self.said}")
            time.sleep(LOOK_SECONDS)

    def _environment(self) -> dict[str, str]:
        """Ours, with the modules that this process can import, and a wish for handlers."""
        named = {"TASK_HANDLERS": ",".join(self._modules)} if self._modules else {}
        path = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
        return {**os.environ, **named, "PYTHONPATH": path}


async def finished(client: Client, task_id: str, progress: tuple[Progress, ...]) -> Finished:
    """The task with all fields of its result, whatever their types are called here."""
    schema = await client.ask(TYPES)
    types = Types(schema)
    unions = [name for name in UNIONS if types.has_field("Task", name)]
    task = await one(client, task_id, " ".join([END, *(f"{name} {{ __typename }}" for name in unions)]))
    for name in unions:
        if task[name]:
            whole = types.whole(task[name]["__typename"])
            task |= await one(client, task_id, f"{name} {{ __typename {whole} }}")
    return Finished(
        id=task_id,
        status=task["status"],
        attempt=task["attempt"],
        input=task["input"],
        result=task.get("result"),
        failure=task["failure"],
        failure_detail=task.get("failureDetail"),
        progress=progress,
    )


async def one(client: Client, task_id: str, fields: str) -> dict[str, Json]:
    found: dict[str, Json] = (await client.ask(TASK % fields, id=task_id))["task"]
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
