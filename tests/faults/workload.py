"""Clients at work while everything breaks: they create, watch and cancel, and try again until answered.

Operators beside them give tasks further lives.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import websockets

from tests.deployment import Deployment
from tests.faults.client import PAUSE_SECONDS, Client
from tests.faults.evidence import TERMINAL, Ask, End, Garbage, Request, View
from tests.faults.operators import Operators
from tests.faults.queues import Queues
from tests.subscriber import WATCH, OperationError, subscriber

CLIENTS = 8
TASKS_PER_DEED = 4
"""For so many tasks, operators do one thing."""
WATCHED, CANCELLED = 0.12, 0.06
"""Shares of the tasks."""

CREATE = """
mutation Create($input: CreateTaskInput!) {
  createTask(input: $input) { task { id } userErrors { code field message } }
}
"""
CANCEL = """
mutation Cancel($id: ID!) { cancelTask(input: {id: $id}) { task { status } userErrors { code } } }
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """A sort of task: how often it comes, what it is, and how it must end."""

    weight: int
    work: Callable[[random.Random], dict[str, Any]]
    end: End
    leaves_mark: bool = False


PLANS = (
    Plan(30, lambda rng: {"leaveMark": {"seconds": rng.uniform(0, 1.5)}}, End.SUCCESS, True),
    Plan(13, lambda rng: {"leaveMarkFromThread": {"seconds": rng.uniform(0, 3)}}, End.SUCCESS, True),
    Plan(13, lambda _: {"leaveMark": {"seconds": 0.5, "failures": 1}}, End.SUCCESS, True),
    Plan(18, lambda rng: {"leaveMark": {"seconds": rng.uniform(1.5, 4)}}, End.SUCCESS, True),
    Plan(6, lambda _: {"leaveMark": {"failures": 4, "afterSeconds": 0.2}}, End.SUCCESS_AT_LAST, True),
    Plan(8, lambda _: {"fail": {"permanent": True}}, End.PERMANENT_FAILURE),
    Plan(6, lambda _: {"fail": {}}, End.EXHAUSTION),
    Plan(10, lambda _: {"countdown": {"steps": 4, "stepSeconds": 0.3}}, End.SUCCESS),
    Plan(8, lambda rng: {"process": {"simulateSeconds": rng.uniform(0, 1.5)}}, End.SUCCESS),
)


class Workload:
    """`tasks` tasks, spread over about `seconds`."""

    def __init__(self, deployment: Deployment, tasks: int, seconds: float, rng: random.Random) -> None:
        self.requests: list[Request] = []
        self.views: list[View] = []
        self._api = Client(deployment.url)
        self._ws_url = deployment.ws_url
        self._operators = Operators(self._api, Queues(deployment), self.requests, rng)
        self._tasks = tasks
        self._seconds = seconds
        self._rng = rng
        self._watchers: list[asyncio.Task[None]] = []

    @property
    def asks(self) -> list[Ask]:
        return self._operators.asks

    @property
    def garbage(self) -> list[Garbage]:
        return self._operators.garbage

    @property
    def errors(self) -> list[str]:
        """Answers that no outage explains."""
        return self._api.complaints

    async def run(self, give_up: float) -> None:
        """Until all requests are answered and all watchers dismissed, not beyond `give_up` (monotonic)."""
        async with self._api:
            people = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]
            deeds = self._tasks // TASKS_PER_DEED
            people.append(asyncio.create_task(self._operators.run(deeds, self._seconds)))
            await asyncio.wait(people, timeout=max(0.0, give_up - time.monotonic()))
            if self._watchers:
                await asyncio.wait(self._watchers, timeout=max(0.0, give_up - time.monotonic()))
            unfinished = [*people, *self._watchers]
            for each in unfinished:
                each.cancel()
            for outcome in await asyncio.gather(*unfinished, return_exceptions=True):
                if isinstance(outcome, Exception):
                    self.errors.append(f"the workload itself failed: {outcome!r}")

    async def _client(self, number: int) -> None:
        for task in range(number, self._tasks, CLIENTS):
            await asyncio.sleep(self._rng.uniform(0, 2 * self._seconds * CLIENTS / self._tasks))
            [plan] = self._rng.choices(PLANS, [plan.weight for plan in PLANS])
            request = Request(f"key {task}", plan.end, plan.leaves_mark)
            self.requests.append(request)
            watched, cancelled = self._rng.random() < WATCHED, self._rng.random() < CANCELLED
            await self._create(request, f"Task {task}", plan.work(self._rng))
            if watched:
                self.views.append(view := View(request.answers[0]))
                self._watchers.append(asyncio.create_task(watch(self._ws_url, view, self._api.note)))
            if cancelled:
                await asyncio.sleep(self._rng.uniform(0, 1))
                await self._cancel(request)

    async def _create(self, request: Request, title: str, work: dict[str, Any]) -> None:
        repeat = self._rng.random() < 0.1  # as by a client that lost the answer
        input = {"title": title, "work": work, "idempotencyKey": request.key}
        for _ in range(1 + repeat):
            payload = (await self._api.answered(CREATE, input=input))["createTask"]
            if payload["userErrors"]:
                self.errors.append(f"createTask was refused: {payload['userErrors']}")
            else:
                request.answers.append(payload["task"]["id"])

    async def _cancel(self, request: Request) -> None:
        request.cancelling = True
        payload = (await self._api.answered(CANCEL, id=request.answers[0]))["cancelTask"]
        request.cancelled = not payload["userErrors"] and payload["task"]["status"] == "CANCELLED"


async def watch(ws_url: str, view: View, note: Callable[[list[Any]], None]) -> None:
    """Follow a task to its end, over as many connections as it takes; `note` is told of errors."""
    while not view.completed:
        try:
            async with subscriber(ws_url) as watcher:
                seen = view.states[-1][0] if view.states else None
                async for result in watcher.results(WATCH, id=view.task_id, afterVersion=seen):
                    if errors := result.get("errors"):
                        note(errors)
                        break
                    state = result["data"]["taskStatus"]
                    view.states.append((state["version"], state["status"]))
                else:
                    view.completed = True
        except OperationError as error:
            note(error.args[0])
        except (OSError, TimeoutError, websockets.WebSocketException):
            pass  # the API is away, or went away
        if view.states and view.states[-1][1] in TERMINAL:
            view.completed = True  # its connection broke after the last word
        await asyncio.sleep(PAUSE_SECONDS)
