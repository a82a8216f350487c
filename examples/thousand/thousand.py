"""Fire 1,000 mutations, each with an idempotency key, and wait for all of their tasks under a progress bar.

Every task of a run has its own key, `RUN-NUMBER`. So whatever goes wrong on the way is simply tried again: a
lost answer, a restarted API, this script killed in the middle and started once more with the same `--run`.
There is exactly one task for each number in the end.

    .venv/bin/python examples/thousand/thousand.py      # on TaskQL's own environment
    uv run examples/thousand/thousand.py                # on one that uv makes for it
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["httpx", "websockets"]
# ///

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

CREATING = 50
"""Requests at a time: enough to keep the API busy, few enough to leave it room for others."""
WATCHING = 500
"""Tasks watched at a time: half of what the API allows on one WebSocket."""
PATIENCE_SECONDS = 30
"""How long nothing but failures is put up with."""
LONGEST_PAUSE_SECONDS = 5
BAR_WIDTH = 40

CREATE = """mutation Create($input: CreateTaskInput!) {
  createTask(input: $input) { created task { id } userErrors { message } }
}"""
WATCH = "subscription Watch($id: ID!) { taskStatus(id: $id) { status isTerminal } }"


class Stop(Exception):
    """Nothing that trying again could heal; the message is for whoever started this."""


class Unanswered(Exception):
    """Not this time: worth another try, after a pause."""


class Patience:
    """Pauses between tries, longer each time and never the same, until there is no point any more."""

    def __init__(self) -> None:
        self._pauses = itertools.count()
        self._first_failure: float | None = None

    async def pause(self, cause: Exception) -> None:
        self._first_failure = self._first_failure or time.monotonic()
        if time.monotonic() > self._first_failure + PATIENCE_SECONDS:
            said = str(cause) or type(cause).__name__
            raise Stop(f"TaskQL has not answered for {PATIENCE_SECONDS} s: {said}") from cause
        longest = min(0.1 * 2 ** next(self._pauses), LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(random.uniform(longest / 2, longest))


class Creator:
    """Creates tasks by POST requests, each as often as it takes."""

    def __init__(self, client: httpx.AsyncClient, run: str) -> None:
        self._client = client
        self._run = run
        self._slots = asyncio.Semaphore(CREATING)

    async def knock(self) -> None:
        """Raise Stop at once if nobody is there: later, that is an outage, to be waited for."""
        try:
            await self._client.get("/healthz")
        except httpx.TransportError as error:
            where = self._client.base_url
            raise Stop(f"there is no TaskQL at {where} ({error}): start it with `make run`") from error

    async def create(self, number: int) -> tuple[str, bool]:
        """The task's id, and whether it is new."""
        patience = Patience()
        async with self._slots:
            while True:
                try:
                    return await self._try(number)
                except (httpx.TransportError, Unanswered) as error:
                    await patience.pause(error)

    async def _try(self, number: int) -> tuple[str, bool]:
        input = {
            "title": f"{self._run} {number}",
            "work": {"reverse": {"inputData": f"number {number}"}},
            "idempotencyKey": f"{self._run}-{number}",
        }
        answer = await self._client.post("/graphql", json={"query": CREATE, "variables": {"input": input}})
        try:
            body = answer.json()
        except ValueError:  # a proxy's page, while there is no API behind it
            raise Unanswered(f"HTTP {answer.status_code}") from None
        payload = data_of(body)["createTask"]
        if payload["userErrors"]:
            raise Stop(f"number {number} was refused: {payload['userErrors'][0]['message']}")
        return payload["task"]["id"], payload["created"]


class Watcher:
    """Watches many tasks over one WebSocket.

    A subscription costs the API two or three small messages for each task and nothing while nothing happens,
    and tells at once. Asking again and again would cost it queries for as long as the slowest task runs. One
    socket carries them all: a thousand connections would say no more.
    """

    def __init__(self, url: str) -> None:
        self._url = "ws" + url.removeprefix("http") + "/graphql"
        self._slots = asyncio.Semaphore(WATCHING)
        self._ends: dict[str, asyncio.Future[str]] = {}
        self._socket: ClientConnection | None = None
        self._patience = Patience()

    async def end_of(self, task_id: str) -> str:
        """The status in which the task ended."""
        async with self._slots:
            end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self._ends[task_id] = end
            try:
                if self._socket:
                    await self._subscribe(self._socket, task_id)
                return await end
            finally:
                del self._ends[task_id]

    async def stay_connected(self) -> None:
        """Connect, and again after a loss. A subscription starts with the present state: none is missed."""
        while True:
            try:
                async with self._connected() as socket:
                    async for frame in socket:
                        await self._hear(socket, json.loads(frame))
                raise Unanswered("the connection was closed")
            except (OSError, WebSocketException, Unanswered) as error:
                await self._patience.pause(error)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[ClientConnection]:
        """A connection on which everything is asked for that has not ended yet."""
        async with connect(self._url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
            await socket.send('{"type": "connection_init"}')
            if json.loads(await socket.recv())["type"] != "connection_ack":
                raise Stop("what answers is not TaskQL")
            self._socket = socket
            try:
                for task_id in list(self._ends):
                    await self._subscribe(socket, task_id)
                yield socket
            finally:
                self._socket = None

    async def _subscribe(self, socket: ClientConnection, task_id: str) -> None:
        """The task's id serves as the operation's, so an answer tells whom it is about."""
        payload = {"query": WATCH, "variables": {"id": task_id}}
        with suppress(WebSocketException):  # then it is asked for on the next connection
            await socket.send(json.dumps({"id": task_id, "type": "subscribe", "payload": payload}))

    async def _hear(self, socket: ClientConnection, message: Any) -> None:
        match message["type"]:
            case "ping":
                await socket.send('{"type": "pong"}')
            case "next":
                task = data_of(message["payload"])["taskStatus"]
                self._patience = Patience()
                end = self._ends.get(message["id"])
                if task["isTerminal"] and end and not end.done():
                    end.set_result(task["status"])
            case "error":
                data_of({"errors": message["payload"]})


class Bar:
    """What has been created and what has ended, in one line; off a terminal, a line for each tenth."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._shown = ""
        self.created = 0
        self.ended = 0

    def show(self) -> None:
        if sys.stderr.isatty():
            full, half = (BAR_WIDTH * part // self._count for part in (self.ended, self.created))
            bar = "█" * full + "▒" * (half - full) + "░" * (BAR_WIDTH - half)
            line = f"\r{bar} {self.created} created, {self.ended} ended, of {self._count}"
        else:
            line = f"{self.ended * 10 // self._count * 10} % ended\n"
        if line != self._shown:
            print(line, end="", file=sys.stderr, flush=True)
            self._shown = line

    def close(self) -> None:
        if sys.stderr.isatty():
            print(file=sys.stderr)


def data_of(answer: Any) -> Any:
    """The data of a GraphQL answer. Raises Unanswered where its error says that another try may help."""
    errors = answer.get("errors") or []
    if any(error.get("extensions", {}).get("retryable") for error in errors):
        raise Unanswered(errors[0]["message"])
    if errors:
        raise Stop(errors[0]["message"])
    return answer["data"]


async def fire(url: str, count: int, run: str) -> bool:
    """Create the tasks and see all of them end. Whether every one COMPLETED."""
    bar = Bar(count)
    fresh = 0
    ends: Counter[str] = Counter()
    limits = httpx.Limits(max_connections=CREATING)

    async def follow(number: int) -> None:
        nonlocal fresh
        task_id, is_new = await creator.create(number)
        fresh += is_new
        bar.created += 1
        bar.show()
        ends[await watcher.end_of(task_id)] += 1
        bar.ended += 1
        bar.show()

    began = time.monotonic()
    print(f"Run {run}: {count} tasks on {url}")
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=PATIENCE_SECONDS) as client:
        creator, watcher = Creator(client, run), Watcher(url)
        await creator.knock()
        try:
            async with asyncio.TaskGroup() as group:
                connection = group.create_task(watcher.stay_connected())
                async with asyncio.TaskGroup() as numbers:
                    for number in range(1, count + 1):
                        numbers.create_task(follow(number))
                connection.cancel()
        finally:
            bar.close()
    seconds = time.monotonic() - began
    print(f"{fresh} new, {count - fresh} there already")
    print(", ".join(f"{ends[status]} {status}" for status in sorted(ends)))
    print(f"{seconds:.1f} s, {count / seconds:.0f} tasks/s")
    return ends["COMPLETED"] == count


def main() -> int:
    parser = argparse.ArgumentParser(description="Create many tasks and wait for all of them.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where TaskQL is (%(default)s)")
    parser.add_argument("--count", type=positive, default=1_000, help="how many tasks (%(default)s)")
    parser.add_argument("--run", default=f"run-{uuid4().hex[:8]}", help="a name; the same again goes on")
    options = parser.parse_args()
    again = f"The same again goes on where this stopped: --run {options.run}"
    try:
        return 0 if asyncio.run(fire(options.url.rstrip("/"), options.count, options.run)) else 1
    except* Stop as stops:
        print(f"Stopped: {first(stops)}. {again}", file=sys.stderr)
    except* KeyboardInterrupt:
        print(f"Interrupted. {again}", file=sys.stderr)
    return 1


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def first(error: BaseException) -> BaseException:
    """One of those that a group is made of."""
    return first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


if __name__ == "__main__":
    sys.exit(main())
