"""Operators at work while everything breaks: they retry, redrive, put dead letters back, and litter."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from taskql.message import encode
from taskql.queues import Queue, ordering_group
from tests.faults.client import PAUSE_SECONDS, Client
from tests.faults.evidence import Ask, End, Garbage, Request
from tests.faults.queues import AWAY, Queues

PATIENCE_SECONDS = 30.0
"""Longer than any fault: a try that was given up could else take effect after all is over."""
REDRIVEN = 3

RETRY = """
mutation Retry($id: ID!) {
  retryTask(input: {id: $id}) { task { status version } userErrors { code } }
}
"""
REDRIVE = """
mutation Redrive($limit: Int!) { redriveTasks(input: {limit: $limit}) { redriven userErrors { code } } }
"""


class Operators:
    """They know of `requests`, which grow meanwhile."""

    def __init__(
        self, client: Client, queues: Queues, requests: Sequence[Request], rng: random.Random
    ) -> None:
        self.asks: list[Ask] = []
        self.garbage: list[Garbage] = []
        self._client = client
        self._queues = queues
        self._requests = requests
        self._rng = rng

    async def run(self, deeds: int, seconds: float) -> None:
        """`deeds` deeds, spread over about `seconds`."""
        choices: dict[Callable[[], Awaitable[None]], int] = {
            self.retry: 8,
            self.redrive: 3,
            self.put_back: 4,
            self.repeat: 2,
            self.litter: 3,
        }
        for _ in range(deeds):
            await asyncio.sleep(self._rng.uniform(0, 2 * seconds / deeds))
            [deed] = self._rng.choices([*choices], [*choices.values()])
            await deed()

    async def retry(self) -> None:
        """Try a task again that may have FAILED or been CANCELLED by now."""
        likely = [each for each in self._requests if each.end is not End.SUCCESS or each.cancelling]
        if task_id := self._one_of(likely):
            ask, payload = await self._asked(RETRY, task_id, id=task_id)
            if payload["retryTask"]["task"]:
                ask.version = payload["retryTask"]["task"]["version"]
            elif [error["code"] for error in payload["retryTask"]["userErrors"]] != ["NOT_RETRYABLE"]:
                self._client.complaints.append(f"retryTask was refused: {payload}")

    async def redrive(self) -> None:
        _, payload = await self._asked(REDRIVE, None, limit=REDRIVEN)
        if payload["redriveTasks"]["userErrors"]:
            self._client.complaints.append(f"redriveTasks was refused: {payload}")

    async def put_back(self) -> None:
        """A copy of a dead letter, often one whose task has had other attempts since; not always into the
        queue that it came from.
        """
        with suppress(*AWAY):
            letters = [each for each in await asyncio.to_thread(self._queues.peek) if each.task_id]
            if letters:
                letter = self._rng.choice(letters)
                self.asks.append(Ask(datetime.now(UTC), letter.task_id, letter.attempt or 0))
                await asyncio.to_thread(self._queues.put_back, letter, self._queue_for(letter.ordered))

    async def repeat(self) -> None:
        """A message as the relay sends it: it asks for nothing that is not to be done anyway."""
        requests = [each for each in self._requests if each.answers]
        if requests:
            request = self._rng.choice(requests)
            group = ordering_group("local", request.ordering_key)
            queue = self._queue_for(group is not None)
            with suppress(*AWAY):
                await asyncio.to_thread(
                    self._queues.send, encode(UUID(request.answers[0])), queue, group=group
                )

    async def litter(self) -> None:
        """What no relay ever sent, into any queue, the groups of ordered tasks included; each is told from
        all others.
        """
        number = len(self.garbage)
        stranger = str(UUID(int=self._rng.getrandbits(128), version=4))
        body = self._rng.choice(
            (
                f"litter {number}, not JSON",
                json.dumps({"task_id": stranger, "v": 1}),
                json.dumps({"task_id": stranger, "v": 2}),
                json.dumps({"task_id": stranger.upper(), "v": 1, "number": number}),
            )
        )
        queue = self._rng.choice([*Queue])
        keys = [each.ordering_key for each in self._requests]
        group = ordering_group("local", self._rng.choice(keys or [None]))
        self.garbage.append(garbage := Garbage(body, datetime.now(UTC), queue=queue.value))
        with suppress(*AWAY):
            await asyncio.to_thread(self._queues.send, body, queue, group=group)
            garbage.accepted = True

    def _queue_for(self, ordered: bool) -> Queue:
        """Where such a message belongs, seldom another one."""
        if self._rng.random() < 0.8:
            return Queue.FIFO if ordered else Queue.NORMAL
        return self._rng.choice(tuple(Queue))

    def _one_of(self, requests: Sequence[Request]) -> str | None:
        answered = [each.answers[0] for each in requests if each.answers]
        return self._rng.choice(answered) if answered else None

    async def _asked(self, query: str, task_id: str | None, **variables: Any) -> tuple[Ask, Any]:
        """The answer, and the try that it belongs to: those before it may have had their effect as well."""
        while True:
            self.asks.append(ask := Ask(datetime.now(UTC), task_id))
            if (data := await self._client.tried(query, PATIENCE_SECONDS, **variables)) is not None:
                return ask, data
            await asyncio.sleep(PAUSE_SECONDS)
