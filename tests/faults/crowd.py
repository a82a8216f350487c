"""Hundreds who watch, over sockets and event streams: they come, stall, go, and come back for the rest."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from tests.faults.client import PAUSE_SECONDS, Client
from tests.faults.evidence import Following, Request, View

SOCKETS, TASKS_OF_EACH, STREAMS, FOLLOWERS = 20, 5, 60, 2
LATEST = 15
"""They watch one of so many that were created last."""
ARRIVALS = 0.8
"""They come within this share of the time."""
LEAVES, STAY_SECONDS, MAX_LEAVES = 0.4, (0.5, 4.0), 3
"""How often a visit ends early, how long it lasts then, and how many of them there are at most."""
STALLS, STALL_SECONDS = 0.03, (1.0, 4.0)
"""How often somebody who has been told something reads no further for a while."""
LINGER_SECONDS = 0.3
"""After the last completion a socket stays open: nothing more may come."""
CONNECT_SECONDS, SILENT_SECONDS = 60.0, 40.0
"""No fault lasts so long, and servers ping more often. Who gave up connecting would leave a socket open."""
ASK_SECONDS = 1.0
KNOWS_SECONDS = 30.0
PROTOCOL = Subprotocol("graphql-transport-ws")

WATCH = """
subscription Watch($id: ID!, $afterVersion: Int) {
  taskStatus(id: $id, afterVersion: $afterVersion) { version status }
}
"""
FOLLOW = "subscription { taskUpdates { id version status } }"
CHANGED = """
query Changed($since: DateTime, $after: String) {
  tasks(filter: {updatedAfter: $since}, orderBy: CREATED_AT_ASC, first: 100, after: $after) {
    asOf nodes { id version status } pageInfo { hasNextPage endCursor }
  }
}
"""
AWAY = (OSError, TimeoutError, WebSocketException, httpx.TransportError)
"""The API is not there, went away, or says nothing; or it is we who leave."""


class Crowd:
    """Watchers of what `requests` have asked for, at any of the API's `addresses`."""

    def __init__(
        self, addresses: Sequence[str], requests: Sequence[Request], seconds: float, rng: random.Random
    ) -> None:
        self.views: list[View] = []
        self.followings: list[Following] = []
        self._stalls = STALLS
        self._addresses = addresses
        self._requests = requests
        self._seconds = seconds
        self._rng = rng
        self._api = Client([f"http://{address}" for address in addresses], rng)
        self._http = httpx.AsyncClient(limits=httpx.Limits(max_connections=None))

    @property
    def errors(self) -> list[str]:
        """What no outage explains."""
        return self._api.complaints

    # ------------------------------------------------------------ those who watch a task

    async def run(self, give_up: float) -> None:
        """Until all of them are dismissed, not beyond `give_up` (monotonic)."""
        async with self._http:
            sizes = [TASKS_OF_EACH] * SOCKETS + [1] * STREAMS
            people = [
                asyncio.create_task(self._visitor(size, over_socket=number < SOCKETS))
                for number, size in enumerate(sizes)
            ]
            await asyncio.wait(people, timeout=max(0.0, give_up - time.monotonic()))
            await self._dismiss(people)

    async def _visitor(self, size: int, *, over_socket: bool) -> None:
        await asyncio.sleep(self._rng.uniform(0, ARRIVALS * self._seconds))
        while not (known := [request.answers[0] for request in self._requests if request.answers]):
            await asyncio.sleep(PAUSE_SECONDS)
        views = [View(self._rng.choice(known[-LATEST:])) for _ in range(size)]
        self.views += views
        leaves = 0
        while not all(view.completed for view in views):
            leaving = leaves < MAX_LEAVES and self._rng.random() < LEAVES
            leaves += leaving
            stay = self._rng.uniform(*STAY_SECONDS) if leaving else None
            with suppress(*AWAY):
                await (self._visit_socket(views, stay) if over_socket else self._visit_stream(views[0], stay))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _visit_socket(self, views: Sequence[View], stay: float | None) -> None:
        """Watch all that has not ended, each in an operation of its own."""
        async with self._connected() as socket, asyncio.timeout(stay):
            ids = map(str, itertools.count())
            watched: dict[str, View] = {}
            broken = set[str]()

            async def watch(view: View) -> None:
                watched[id := next(ids)] = view
                await socket.send(subscribe(id, WATCH, **variables_of(view)))

            for view in views:
                if not view.completed:
                    await watch(view)
            while True:
                done = all(view.completed for view in views)
                try:
                    message = await heard(socket, LINGER_SECONDS if done else SILENT_SECONDS)
                except TimeoutError:
                    if done:
                        return
                    raise
                view = watched[message["id"]]
                if message["type"] == "next":
                    if not self._see(view, message["payload"]):
                        broken.add(message["id"])
                elif message["type"] == "complete" and message["id"] not in broken:
                    view.completed += 1
                else:
                    if message["type"] == "error":
                        self._api.note(message["payload"])
                    await asyncio.sleep(PAUSE_SECONDS)
                    await watch(view)
                await self._stall()

    async def _visit_stream(self, view: View, stay: float | None) -> None:
        url = f"http://{self._rng.choice(self._addresses)}/graphql"
        asked = {"query": WATCH, "variables": variables_of(view)}
        accept = {"Accept": "text/event-stream"}
        patience = httpx.Timeout(CONNECT_SECONDS, read=SILENT_SECONDS)
        async with (
            self._http.stream("POST", url, json=asked, headers=accept, timeout=patience) as answer,
            asyncio.timeout(stay),
        ):
            if answer.status_code != httpx.codes.OK:
                self.errors.append(
                    f"a stream was answered with {answer.status_code}: {await answer.aread()!r}"
                )
            event, good = "", True
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "data" and event == "next":
                    good = self._see(view, json.loads(value)) and good
                    await self._stall()
                elif line.startswith("data:") and event == "complete" and good:
                    view.completed += 1

    def _see(self, view: View, result: Any) -> bool:
        """Whether it is a state, and not errors."""
        if errors := result.get("errors"):
            self._api.note(errors)
            return False
        state = result["data"]["taskStatus"]
        view.states.append((state["version"], state["status"]))
        return True

    async def _stall(self) -> None:
        if self._rng.random() < self._stalls:
            await asyncio.sleep(self._rng.uniform(*STALL_SECONDS))

    # ------------------------------------------------------------ those who follow all tasks

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        self.followings = [Following() for _ in range(FOLLOWERS)]
        async with self._api:
            people = [asyncio.create_task(self._follower(each)) for each in self.followings]
            try:
                yield
            finally:
                await self._dismiss(people)

    async def knows(self, stored: Mapping[str, tuple[int, str]]) -> None:
        """Return when every follower knows all that is stored, or after a while.

        Nobody stalls any more: that takes 75 ms a message on average, and may have put some hundreds off.
        """
        self._stalls = 0.0
        until = time.monotonic() + KNOWS_SECONDS
        while time.monotonic() < until and any(each.known != stored for each in self.followings):
            await asyncio.sleep(PAUSE_SECONDS)

    async def _follower(self, following: Following) -> None:
        since = Since()
        leaves = 0
        while True:
            leaving = leaves < MAX_LEAVES and self._rng.random() < LEAVES
            leaves += leaving
            with suppress(*AWAY):
                await self._follow(following, since, self._rng.uniform(*STAY_SECONDS) if leaving else None)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _follow(self, following: Following, since: "Since", stay: float | None) -> None:
        """Over one connection. Once something comes, so will all later changes: ask for those before."""
        begun = asyncio.Event()
        following.connections.append([])
        async with self._connected() as socket, asyncio.timeout(stay):
            await socket.send(subscribe("0", FOLLOW))
            asking = asyncio.create_task(self._ask_until(begun, following, since))
            try:
                while (message := await heard(socket, SILENT_SECONDS))["type"] == "next":
                    if errors := message["payload"].get("errors"):
                        self._api.note(errors)
                        return
                    task = message["payload"]["data"]["taskUpdates"]
                    following.connections[-1].append((task["id"], task["version"], task["status"]))
                    learn(following, task)
                    begun.set()
                    await self._stall()
                if message["type"] == "error":
                    self._api.note(message["payload"])
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)

    async def _ask_until(self, begun: asyncio.Event, following: Following, since: "Since") -> None:
        """What has changed since it was last asked; the last time after something has come."""
        enough = False
        while not enough:
            enough = begun.is_set()
            first: str | None = None
            after: str | None = None
            while True:
                page = (await self._api.answered(CHANGED, since=since.moment, after=after))["tasks"]
                first = first or page["asOf"]
                for task in page["nodes"]:
                    learn(following, task)
                after = page["pageInfo"]["endCursor"]
                if not page["pageInfo"]["hasNextPage"]:
                    break
            since.moment = first
            with suppress(TimeoutError):
                async with asyncio.timeout(ASK_SECONDS):
                    await begun.wait()

    # ------------------------------------------------------------ both

    async def _dismiss(self, people: Sequence[asyncio.Task[None]]) -> None:
        for each in people:
            each.cancel()
        for outcome in await asyncio.gather(*people, return_exceptions=True):
            if isinstance(outcome, Exception):
                self.errors.append(f"the crowd itself failed: {outcome!r}")

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[ClientConnection]:
        """A socket at any API process, after its handshake."""
        url = f"ws://{self._rng.choice(self._addresses)}/graphql"
        async with connect(
            url,
            subprotocols=[PROTOCOL],
            compression=None,
            open_timeout=CONNECT_SECONDS,
            ping_interval=None,
            close_timeout=1,
        ) as socket:
            await socket.send('{"type": "connection_init"}')
            acknowledgement = await heard(socket, CONNECT_SECONDS)
            assert acknowledgement == {"type": "connection_ack"}, acknowledgement
            yield socket


@dataclass(slots=True)
class Since:
    """Up to when a follower knows all changes."""

    moment: str | None = None


def learn(following: Following, task: Any) -> None:
    version, status = task["version"], task["status"]
    if following.known.get(task["id"], (0, ""))[0] < version:
        following.known[task["id"]] = (version, status)


def variables_of(view: View) -> dict[str, Any]:
    """Those with which it comes, or comes back."""
    view.resumed.append(len(view.states))
    return {"id": view.task_id, "afterVersion": view.states[-1][0] if view.states else None}


def subscribe(operation: str, query: str, **variables: Any) -> str:
    return json.dumps(
        {"id": operation, "type": "subscribe", "payload": {"query": query, "variables": variables}}
    )


async def heard(socket: ClientConnection, seconds: float) -> Any:
    """The next message that is no ping; those are answered."""
    while True:
        async with asyncio.timeout(seconds):
            message = json.loads(await socket.recv())
        if message["type"] != "ping":
            return message
        await socket.send('{"type": "pong"}')
