"""`python -m taskql verify`: a smoke test of a live deployment, from outside, as its clients use it.

Invariant: it ends within its time limit, and every step ends in one line: done, failed with the reason, or
skipped with the reason.
"""

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO
from uuid import uuid4

from taskql.client import Client, Unusable
from taskql.registry import SHIPPED

TITLE = "taskql verify"
CREATE = """mutation Create($input: CreateTaskInput!) {
  createTask(input: $input) { created task { id } userErrors { code field message } }
}"""
WATCH = """subscription Watch($id: ID!) {
  taskStatus(id: $id) { status isTerminal failure { code message } %s }
}"""
LONGEST_NAME = 12


@dataclass(frozen=True)
class Trial:
    """What a kind is given, and how its task must end. A pattern stands for any text that it matches."""

    work: Mapping[str, Any]
    result: Mapping[str, Any] | None = None
    failure: Mapping[str, Any] | None = None


TRIALS = {
    "process": Trial({}, {"message": re.compile(f"Processed task '{TITLE}' at ")}),
    "compute": Trial(
        {"numbers": [10, 20, 30, 40, 50]}, {"count": 5, "sum": 150, "average": 30, "max": 50, "min": 10}
    ),
    "transform": Trial(
        {"text": "Hello World"},
        {"uppercase": "HELLO WORLD", "lowercase": "hello world", "wordCount": 2, "charCount": 11},
    ),
    "reverse": Trial({"inputData": "hello"}, {"outputData": "olleh"}),
    "fail": Trial(
        {"message": "as asked", "permanent": True}, failure={"code": "PERMANENT", "message": "as asked"}
    ),
    "countdown": Trial({"steps": 2, "stepSeconds": 0.1}, {"steps": 2}),
}


class Wrong(Exception):
    """A step did not bring what it should have."""


@dataclass
class Step:
    """One line of the report while it comes about; `so_far` is what is told if time runs out."""

    name: str
    began: float = field(default_factory=time.perf_counter)
    so_far: str = "there was no answer"

    @property
    def ms(self) -> str:
        return f"{(time.perf_counter() - self.began) * 1000:.0f} ms"


Check = Callable[[Step], Awaitable[str]]
"""Does a step and answers what to tell about it. Raises Wrong or Unusable where it fails."""


class Verification:
    """The steps of one run, and what became of them."""

    def __init__(self, client: Client, limit_seconds: float, out: TextIO) -> None:
        self._client = client
        self._limit_seconds = limit_seconds
        self._out = out
        self._failures = 0

    async def run(self) -> bool:
        """Whether all is well."""
        self._deadline = asyncio.get_running_loop().time() + self._limit_seconds
        self._say(f"TaskQL at {self._client.base}")
        well = await self._way_is_clear() and await self._everything_works()
        self._say("All is well." if well else f"Not well: {self._failures} failed.")
        return well

    async def _way_is_clear(self) -> bool:
        """One after the other: where one fails, what follows it could only fail as well."""
        checks = {"alive": self._alive, "ready": self._ready, "kinds": self._list, "websocket": self._connect}
        for name, check in checks.items():
            if not await self._attempt(name, check):
                return False
        return True

    async def _everything_works(self) -> bool:
        """All at once, so that the time limit names everything that does not end."""
        for kind in self._kinds:
            if kind not in TRIALS:
                self._tell(
                    "–", kind, "skipped: it doesn't ship with TaskQL, so no input for it is known here"
                )
        checks: dict[str, Check] = {kind: self._trial_of(kind) for kind in SHIPPED}
        checks |= {"idempotency": self._repeat, "events": self._stream, "bad input": self._mistake}
        return all(await asyncio.gather(*(self._attempt(name, check) for name, check in checks.items())))

    async def _attempt(self, name: str, check: Check) -> bool:
        step = Step(name)
        try:
            async with asyncio.timeout_at(self._deadline):
                self._tell("✓", name, await check(step))
            return True
        except (Wrong, Unusable) as error:
            reason = str(error)
        except TimeoutError:
            reason = f"not finished within {self._limit_seconds:g} s: {step.so_far}"
        self._failures += 1
        self._tell("✗", name, reason)
        return False

    # ------------------------------------------------------------ the way there

    async def _alive(self, step: Step) -> str:
        status, body = await self._client.probe("/healthz")
        if (status, body) != (200, {"status": "ok"}):
            raise Wrong(f"{self._client.base}/healthz is not TaskQL's: it answered {status}")
        return step.ms

    async def _ready(self, step: Step) -> str:
        status, body = await self._client.probe("/readyz")
        services = ", ".join(f"{name} {state}" for name, state in body.items() if name != "status")
        if status != 200:
            raise Wrong(f"/readyz answered {status}: {services}")
        return f"{step.ms}, {services}"

    async def _list(self, step: Step) -> str:
        answer = await self._client.ask("{ kinds { name } }")
        self._kinds = [kind["name"] for kind in answer["kinds"]]
        return f"{step.ms}, {', '.join(self._kinds)}"

    async def _connect(self, step: Step) -> str:
        async with self._client.socket():
            return step.ms

    # ------------------------------------------------------------ what it is there for

    def _trial_of(self, kind: str) -> Check:
        trial = TRIALS[kind]

        async def check(step: Step) -> str:
            if kind not in self._kinds:
                raise Wrong("this deployment does not have it: is it an older version?")
            task_id = await self._create(work={kind: trial.work})
            created = step.ms
            results = self._client.watch(WATCH % selection(kind, trial), id=task_id)
            task = await end_of(results, task_id, step)
            require_end(task, trial)
            return f"created {created}, {task['status'].lower()} after {step.ms}"

        return check

    async def _repeat(self, step: Step) -> str:
        key = f"verify-{uuid4()}"
        first = await self._client.ask(CREATE, input={"title": TITLE, "idempotencyKey": key})
        again = await self._client.ask(CREATE, input={"title": TITLE, "idempotencyKey": key})
        if (first["createTask"]["created"], again["createTask"]["created"]) != (True, False):
            raise Wrong("a repeated idempotency key was not noticed")
        if first["createTask"]["task"] != again["createTask"]["task"]:
            raise Wrong("a repeated idempotency key gave another task")
        return f"{step.ms}, the same task for the same key"

    async def _stream(self, step: Step) -> str:
        task_id = await self._create()
        task = await end_of(self._client.stream(WATCH % "", id=task_id), task_id, step)
        if task["status"] != "COMPLETED":
            raise Wrong(f"a task watched over server-sent events ended {task['status']}")
        return f"completed after {step.ms}, watched over server-sent events"

    async def _mistake(self, step: Step) -> str:
        payload = (await self._client.ask(CREATE, input={"title": ""}))["createTask"]
        if payload["task"] or [error["field"] for error in payload["userErrors"]] != [["input", "title"]]:
            raise Wrong(f"an empty title was answered with {payload}")
        return f"{step.ms}, refused with userErrors"

    async def _create(self, **input: Any) -> str:
        payload = (await self._client.ask(CREATE, input={"title": TITLE, **input}))["createTask"]
        if payload["userErrors"]:
            raise Wrong(f"createTask was refused: {payload['userErrors'][0]['message']}")
        return str(payload["task"]["id"])

    # ------------------------------------------------------------ the report

    def _tell(self, mark: str, name: str, account: str) -> None:
        self._say(f"{mark} {name:<{LONGEST_NAME}} {account}")

    def _say(self, line: str) -> None:
        print(line, file=self._out, flush=True)


async def end_of(results: AsyncIterator[Any], task_id: str, step: Step) -> Any:
    """The last state that a subscription brings."""
    task = None
    async for result in results:
        task = result["taskStatus"]
        step.so_far = f"task {task_id} is {task['status']}; does a consumer run, and for the same queue?"
    if task is None or not task["isTerminal"]:
        raise Wrong(f"the subscription ended before task {task_id} did")
    return task


def selection(kind: str, trial: Trial) -> str:
    """The fields of the kind's result, where it has one."""
    if trial.result is None:
        return ""
    return f"result {{ ... on {kind[0].upper()}{kind[1:]}Result {{ {' '.join(trial.result)} }} }}"


def require_end(task: Mapping[str, Any], trial: Trial) -> None:
    expected = "FAILED" if trial.failure else "COMPLETED"
    if task["status"] != expected:
        raise Wrong(f"it ended {task['status']} instead of {expected}; its failure: {task['failure']}")
    for name, value in (trial.result or trial.failure or {}).items():
        found = (task["failure"] if trial.failure else task["result"])[name]
        if not (value.match(found) if isinstance(value, re.Pattern) else value == found):
            raise Wrong(f"its {name} is {found!r}")


def verify(url: str, token: str | None, limit_seconds: float) -> bool:
    """Whether the deployment works, told step by step on standard output. Raises Unusable for a bad URL."""

    async def run() -> bool:
        async with Client(url, token) as client:
            return await Verification(client, limit_seconds, sys.stdout).run()

    return asyncio.run(run())
