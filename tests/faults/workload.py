"""Clients at work while everything breaks: they create, watch and cancel, and try again until answered.

Operators beside them give tasks further lives.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import Any

import websockets

from tests.deployment import Deployment
from tests.faults.asking import Wish, as_batch, batch_of, wish
from tests.faults.client import PAUSE_SECONDS, Client
from tests.faults.evidence import TERMINAL, Ask, Batch, Garbage, Request, View
from tests.faults.operators import Operators
from tests.faults.queues import Queues
from tests.subscriber import WATCH, OperationError, subscriber

CLIENTS = 8
TASKS_PER_DEED = 4
"""For so many tasks, operators do one thing."""
WATCHED, CANCELLED = 0.12, 0.08
"""Shares of the tasks."""
REPEATED, DOUBLED, ALTERED = 0.1, 0.1, 0.05
"""Shares that are sent again when they are answered, twice at the same time, and with another title."""
BATCHED, BATCH = 0.08, (3, 6)
"""How often a client asks for several at once, and how many."""

PAYLOAD = "created task { id title } userErrors { code field message }"
CREATE = f"mutation Create($input: CreateTaskInput!) {{ createTask(input: $input) {{ {PAYLOAD} }} }}"
CREATE_MANY = f"""
mutation CreateMany($input: CreateTasksInput!) {{
  createTasks(input: $input) {{ results {{ {PAYLOAD} }} userErrors {{ code field message }} }}
}}
"""
CANCEL = """
mutation Cancel($id: ID!) { cancelTask(input: {id: $id}) { task { status } userErrors { code } } }
"""


class Workload:
    """`tasks` tasks, spread over about `seconds`, asked for at any of the API's `addresses`."""

    def __init__(
        self,
        deployment: Deployment,
        addresses: Sequence[str],
        tasks: int,
        seconds: float,
        rng: random.Random,
    ) -> None:
        self.requests: list[Request] = []
        self.batches: list[Batch] = []
        self.views: list[View] = []
        self._api = Client([f"http://{address}" for address in addresses], rng)
        self._ws_urls = [f"ws://{address}/graphql" for address in addresses]
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
        numbers = iter(range(number, self._tasks, CLIENTS))
        many = self._rng.random() < BATCHED
        while some := list(islice(numbers, self._rng.randint(*BATCH) if many else 1)):
            pause = 2 * self._seconds * CLIENTS / self._tasks * len(some)
            await asyncio.sleep(self._rng.uniform(0, pause))
            if many:
                requests = await self._create_many(batch_of(some, self._rng))
            else:
                requests = await self._create(wish(some[0], self._rng))
            for request in requests:
                if request.answers:
                    await self._go_on(request)
            many = self._rng.random() < BATCHED

    async def _go_on(self, request: Request) -> None:
        watched, cancelled = self._rng.random() < WATCHED, self._rng.random() < CANCELLED
        if watched:
            self.views.append(view := View(request.answers[0]))
            urls = self._rng.sample(self._ws_urls, len(self._ws_urls))
            self._watchers.append(asyncio.create_task(watch(urls, view, self._api.note)))
        if cancelled:
            await asyncio.sleep(self._rng.uniform(0, 1))
            await self._cancel(request)

    async def _create(self, wanted: Wish) -> list[Request]:
        """Ask for it, often more than once."""
        request = wanted.request
        assert request is not None
        self.requests.append(request)
        request.asked_at = datetime.now(UTC)
        doubled, repeated, altered = (self._rng.random() < share for share in (DOUBLED, REPEATED, ALTERED))
        await asyncio.gather(*(self._ask(wanted) for _ in range(1 + doubled)))
        if repeated:
            await self._ask(wanted)
        if altered and request.answers:
            input = {**wanted.input, "title": "Another"}
            payload = (await self._api.answered(CREATE, input=input))["createTask"]
            if payload["task"] or [e["code"] for e in payload["userErrors"]] != ["IDEMPOTENCY_CONFLICT"]:
                self.errors.append(f"another input under the key of {request.answers[0]}: {payload}")
        return [request]

    async def _ask(self, wanted: Wish) -> None:
        was_answered = bool(wanted.request and wanted.request.answers)
        payload = (await self._api.answered(CREATE, input=wanted.input))["createTask"]
        self._note(wanted, payload, was_answered)

    async def _create_many(self, wishes: list[Wish]) -> list[Request]:
        requests = list({each.request.key: each.request for each in wishes if each.request}.values())
        for request in requests:
            request.asked_at = datetime.now(UTC)
        self.requests += requests
        self.batches.append(batch := as_batch(wishes))
        for _ in range(1 + (self._rng.random() < REPEATED)):
            input = {"tasks": [each.input for each in wishes]}
            payload = (await self._api.answered(CREATE_MANY, input=input))["createTasks"]
            if payload["userErrors"]:
                self.errors.append(f"createTasks was refused: {payload['userErrors']}")
            results = payload["results"]
            batch.answers.append([result["task"] and result["task"]["title"] for result in results])
            answered = {request.key for request in requests if request.answers}
            for wanted, result in zip(wishes, results, strict=False):
                known = wanted.request is not None and wanted.request.key in answered
                self._note(wanted, result, known)
        return requests

    def _note(self, wanted: Wish, payload: Any, was_answered: bool) -> None:
        """What one answer says of one task; what is good is refused only if it comes too late."""
        request, errors = wanted.request, payload["userErrors"]
        if request is None:
            if payload["task"] or not errors:
                self.errors.append(f"what is bad was accepted: {payload}")
        elif not errors:
            request.answers.append(payload["task"]["id"])
            request.answered_at = request.answered_at or datetime.now(UTC)
            request.created += payload["created"]
        elif is_too_late(request, errors) and not was_answered:
            request.refused = True
        else:
            self.errors.append(f"{request.key} was refused: {errors}")

    async def _cancel(self, request: Request) -> None:
        request.cancelling = True
        payload = (await self._api.answered(CANCEL, id=request.answers[0]))["cancelTask"]
        request.cancelled = not payload["userErrors"] and payload["task"]["status"] == "CANCELLED"


def is_too_late(request: Request, errors: list[Any]) -> bool:
    """Whether its expiresAt has passed by now, and nothing else is held against it."""
    passed = request.expires_at is not None and request.expires_at <= datetime.now(UTC)
    return passed and all(error["field"][-1:] == ["expiresAt"] for error in errors)


async def watch(ws_urls: Sequence[str], view: View, note: Callable[[list[Any]], None]) -> None:
    """Follow a task to its end, over as many connections as it takes; `note` is told of errors."""
    urls = cycle(ws_urls)
    while not view.completed:
        try:
            async with subscriber(next(urls)) as watcher:
                view.resumed.append(len(view.states))
                seen = view.states[-1][0] if view.states else None
                async for result in watcher.results(WATCH, id=view.task_id, afterVersion=seen):
                    if errors := result.get("errors"):
                        note(errors)
                        break
                    state = result["data"]["taskStatus"]
                    view.states.append((state["version"], state["status"]))
                else:
                    view.completed += 1
        except OperationError as error:
            note(error.args[0])
        except (OSError, TimeoutError, websockets.WebSocketException):
            pass  # the API is away, or went away
        if view.states and view.states[-1][1] in TERMINAL:
            view.completed = 1  # or its connection broke after the last word
        await asyncio.sleep(PAUSE_SECONDS)
