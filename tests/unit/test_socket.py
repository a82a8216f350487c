"""A socket and an event stream on a scripted server, with a hub on a stage: what goes out, when, and what
remains of a client that has gone.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.types import Message

from gql.admission import Admission
from gql.context import Context
from gql.limits import Limits
from gql.live import Live
from gql.outgoing import Outgoing
from gql.pulse import ABORT, HEARTBEAT_SECONDS, STUCK_SECONDS, Pulse
from gql.selection import Selection, Selections
from gql.sse import TaskStream
from gql.watched import Watched
from gql.websocket import INIT_SECONDS, LIFELESS_SECONDS, Parts, Socket
from taskql.task import Task
from tests.unit.stage import COMPLETED, OWNER, Stage, event, staged, task_at, until
from tests.unit.stub_api import StubApi, viewer

WATCH = "subscription ($id: ID!) { taskStatus(id: $id) { version } }"


class Server:
    """ASGI's two ends of a connection; a test plays the client. While `reads` is not set, sending waits."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self._aborted = False

    async def receive(self) -> Message:
        return await self.inbox.get()

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        if self._aborted:
            raise OSError("gone")
        self.sent.append(message)
        if message["type"] == "websocket.close":
            self.hang_up()

    def say(self, **message: Any) -> None:
        self.inbox.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    def subscribe(self, task: Task, id: str = "1", query: str = WATCH, **more: Any) -> None:
        payload = {"query": query, "variables": {"id": str(task.id), **more}}
        self.say(id=id, type="subscribe", payload=payload)

    def hang_up(self) -> None:
        self.inbox.put_nowait({"type": "websocket.disconnect"})

    def abort(self) -> None:
        self._aborted = True
        self.reads.set()
        self.hang_up()

    def is_aborted(self) -> bool:
        return self._aborted

    @property
    def heard(self) -> list[Any]:
        """The messages of the protocol so far, without the acknowledgement."""
        frames = [json.loads(message["text"]) for message in self.sent if "text" in message]
        return [frame for frame in frames if frame["type"] != "connection_ack"]

    @property
    def versions(self) -> list[int]:
        results = [frame["payload"]["data"] for frame in self.heard if frame["type"] == "next"]
        return [result["taskStatus"]["version"] for result in results if "taskStatus" in result]


class House:
    """What sockets work with, and how to open one."""

    def __init__(self, stage: Stage) -> None:
        api = StubApi()
        part: Any = SimpleNamespace
        self.hub = stage.hub
        self.pulse = Pulse()
        self.context = replace(api.context, viewer=viewer(OWNER), hub=part, feeds=part, queues=part)
        self.admission = Admission(api.schema.limits)
        self.parts = Parts(
            api.schema, Selections(api.schema), stage.hub, self.pulse, self.known, self.admission
        )

    async def known(self, authorization: Sequence[str]) -> Context:
        return self.context

    @asynccontextmanager
    async def socket(self, *, init: bool = True) -> AsyncIterator[tuple[Server, Socket]]:
        server = Server()
        socket = Socket(self.parts, (), server.send, server.abort)
        serving = asyncio.create_task(socket.serve(server.receive))
        if init:
            server.say(type="connection_init")
            await until(lambda: bool(server.sent))
        try:
            yield server, socket
        finally:
            server.abort()
            await serving

    @asynccontextmanager
    async def stream(self, task: Task) -> AsyncIterator[Server]:
        server = Server()
        request = self.parts.selections.read(WATCH, {"id": str(task.id)}, None, self.context)
        assert request is not None
        stream = TaskStream(request, self.context.viewer, self.hub, self.pulse)
        scope = {"extensions": {ABORT: {"now": server.abort}}}
        serving = asyncio.create_task(stream(scope, server.receive, server.send))
        try:
            yield server
        finally:
            server.inbox.put_nowait({"type": "http.disconnect"})
            await serving


@asynccontextmanager
async def opened(*tasks: Task) -> AsyncIterator[tuple[Stage, House]]:
    async with staged(*tasks) as stage:
        yield stage, House(stage)


async def test_idle_subscription_costs_no_asyncio_task() -> None:
    task = task_at(1)
    async with opened(task) as (_, house), house.socket() as (server, socket):
        tasks = len(asyncio.all_tasks())
        for number in range(100):
            server.subscribe(task, id=str(number))
        await until(lambda: len(server.versions) == 100)
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        assert len(socket.operations) == 100


async def test_terminal_state_is_followed_by_complete_and_frees_the_id() -> None:
    task = task_at(1)
    async with opened(task) as (stage, house), house.socket() as (server, socket):
        server.subscribe(task)
        await until(lambda: server.versions == [1])
        await stage.source.send(event(task, 2, COMPLETED))
        assert server.versions == [1, 2]
        assert server.heard[-1] == {"id": "1", "type": "complete"}
        assert not socket.operations
        stage.database.store(replace(task, version=2, status=COMPLETED))
        server.subscribe(task)
        await until(lambda: server.versions == [1, 2, 2])


async def test_client_that_does_not_read_gets_the_newest_state_and_the_end_of_each_task() -> None:
    tasks = [task_at(1), task_at(1)]
    async with opened(*tasks) as (stage, house), house.socket() as (server, _):
        for number, task in enumerate(tasks):
            server.subscribe(task, id=str(number))
        await until(lambda: server.versions == [1, 1])
        server.reads.clear()
        for version in range(2, 50):
            await stage.source.send(*(event(task, version) for task in tasks))
        await stage.source.send(event(tasks[1], 50, COMPLETED))
        server.reads.set()
        await until(lambda: len(server.heard) == 6)
        of_each = [[frame for frame in server.heard if frame["id"] == id] for id in ("0", "1")]
        seen = [
            [frame["payload"]["data"]["taskStatus"]["version"] for frame in frames if frame["type"] == "next"]
            for frames in of_each
        ]
        assert seen == [[1, 2, 49], [1, 50]]
        assert of_each[1][-1] == {"id": "1", "type": "complete"}


async def test_what_a_client_completed_is_not_sent_to_it_later() -> None:
    task = task_at(1)
    async with opened(task) as (stage, house), house.socket() as (server, socket):
        server.subscribe(task)
        await until(lambda: server.versions == [1])
        server.reads.clear()
        await stage.source.send(event(task, 2), event(task, 3))
        server.say(id="1", type="complete")
        await until(lambda: not socket.operations)
        server.reads.set()
        await socket.outgoing.drained()
        assert server.versions == [1, 2]


async def test_missing_task_is_one_result_and_complete() -> None:
    async with opened() as (_, house), house.socket() as (server, _):
        server.subscribe(task_at(1))
        await until(lambda: len(server.heard) == 2)
        result, complete = server.heard
        assert result["payload"]["errors"][0]["extensions"]["code"] == "NOT_FOUND"
        assert complete == {"id": "1", "type": "complete"}


async def test_too_many_operations_are_an_error_of_that_operation() -> None:
    task = task_at(1)
    async with opened(task) as (_, house), house.socket() as (server, socket):
        most = Limits().subscriptions_per_connection
        for number in range(most + 1):
            server.subscribe(task, id=str(number))
        await until(lambda: len(server.heard) == most + 1)
        [refused] = [frame for frame in server.heard if frame["type"] == "error"]
        assert refused["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
        assert len(socket.operations) == most
        assert house.admission.owners.taken == {OWNER: most}
    assert house.admission.owners.taken == {}


async def test_client_that_takes_nothing_is_dropped_after_a_while() -> None:
    task = task_at(1)
    clock = asyncio.get_running_loop().time
    async with opened(task) as (stage, house), house.socket() as (server, socket):
        server.subscribe(task)
        await until(lambda: server.versions == [1])
        server.reads.clear()
        await stage.source.send(event(task, 2))
        socket.tick(clock() + STUCK_SECONDS / 2)
        assert not server.is_aborted()
        socket.tick(clock() + STUCK_SECONDS + 1)
        assert server.is_aborted()
        await until(lambda: not stage.hub._watched)


async def test_client_that_gives_no_sign_of_life_is_sent_away() -> None:
    clock = asyncio.get_running_loop().time
    async with opened() as (_, house), house.socket() as (server, socket):
        socket.tick(clock() + HEARTBEAT_SECONDS + 1)
        assert server.heard == [{"type": "ping"}]
        server.say(type="pong")
        heard_at = socket._heard_at
        await until(lambda: socket._heard_at > heard_at)
        socket.tick(clock() + LIFELESS_SECONDS + 1)
        assert (server.sent[-1]["type"], server.sent[-1]["code"]) == ("websocket.close", 1001)


async def test_client_that_never_initialises_is_sent_away() -> None:
    clock = asyncio.get_running_loop().time
    async with opened() as (_, house), house.socket(init=False) as (server, socket):
        socket.tick(clock() + INIT_SECONDS / 2)
        assert server.sent == []
        socket.tick(clock() + INIT_SECONDS + 1)
        assert server.sent[-1]["code"] == 4408


async def test_clients_that_come_and_go_leave_nothing_behind() -> None:
    task = task_at(1)
    async with opened(task) as (stage, house):
        tasks = len(asyncio.all_tasks())
        for turn in range(20):
            async with house.socket() as (server, _):
                server.subscribe(task)
                server.say(id="2", type="subscribe", payload={"query": "{ kinds { name } }"})
                if turn % 2:
                    await until(lambda: bool(server.versions))
            async with house.stream(task) as stream:
                if turn % 2:
                    await until(lambda: len(stream.sent) == 2)
        await until(lambda: not stage.hub._watched and len(asyncio.all_tasks()) == tasks)
        assert not house.pulse.connections
        assert not stage.source.channels
        assert not house.parts.selections._shared


# ---------------------------------------------------------------- server-sent events


def body(server: Server) -> str:
    return b"".join(message.get("body", b"") for message in server.sent).decode()


async def test_stream_ends_with_complete_and_heartbeats_before_that() -> None:
    task = task_at(1)
    clock = asyncio.get_running_loop().time
    async with opened(task) as (stage, house), house.stream(task) as server:
        await until(lambda: len(server.sent) == 2)
        [stream] = house.pulse.connections
        stream.tick(clock() + HEARTBEAT_SECONDS + 1)
        await stage.source.send(event(task, 2, COMPLETED))
        assert body(server) == (
            'event: next\r\ndata: {"data":{"taskStatus":{"version":1}}}\r\n\r\n'
            ": ping\r\n\r\n"
            'event: next\r\ndata: {"data":{"taskStatus":{"version":2}}}\r\n\r\n'
            "event: complete\r\ndata: \r\n\r\n"
        )
        assert [message["more_body"] for message in server.sent[1:]] == [True, True, True, False]


async def test_stream_that_is_cut_ends_without_complete() -> None:
    task = task_at(1)
    async with opened(task) as (_, house), house.stream(task) as server:
        await until(lambda: len(server.sent) == 2)
        await house.pulse.go_away()
        assert "complete" not in body(server)
        assert server.sent[-1]["more_body"] is False


async def test_stream_whose_client_takes_nothing_is_cut_off() -> None:
    task = task_at(1)
    clock = asyncio.get_running_loop().time
    async with opened(task) as (stage, house), house.stream(task) as server:
        await until(lambda: len(server.sent) == 2)
        server.reads.clear()
        await stage.source.send(event(task, 2))
        [stream] = house.pulse.connections
        stream.tick(clock() + STUCK_SECONDS + 1)
        assert server.is_aborted()


# ---------------------------------------------------------------- resolvers that take their time


class SlowSelection:
    """A selection whose texts come when the test has them come."""

    def __init__(self) -> None:
        self.texts: dict[int, asyncio.Future[str]] = {}

    def text(self, watched: Watched) -> asyncio.Future[str]:
        assert watched.task is not None
        version = watched.task.version
        return self.texts.setdefault(version, asyncio.get_running_loop().create_future())

    def failure(self, error: Exception) -> str:
        return f"failure: {error}"


class Plain(Live):
    """A subscription whose frames are the texts themselves."""

    def frame(self, text: str) -> Message:
        return {"type": "", "text": text}

    def last_frame(self) -> Message:
        return self.frame("complete")

    def forget(self) -> None:
        self.watched = None


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
async def test_late_texts_come_in_order_or_not_at_all(order: tuple[int, ...]) -> None:
    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(message["text"])

    selection = SlowSelection()
    live = Plain(cast(Selection, selection), None, Outgoing(send))
    watched = live.watched = Watched(task_at(1).id)
    for version in (1, 2, 3):
        watched.takes(task_at(version))
        live.tell(watched)
    live.end(None)
    for version in order:
        selection.texts[version].set_result(str(version))
        for _ in range(3):
            await asyncio.sleep(0)
    assert sent == ["3", "complete"]


async def test_late_text_that_fails_ends_the_subscription() -> None:
    sent: list[str] = []

    async def send(message: Message) -> None:
        sent.append(message["text"])

    selection = SlowSelection()
    live = Plain(cast(Selection, selection), None, Outgoing(send))
    watched = live.watched = Watched(task_at(1).id)
    watched.takes(task_at(1))
    live.tell(watched)
    selection.texts[1].set_exception(RuntimeError("broken"))
    await until(lambda: bool(sent))
    assert sent == ["failure: broken", "complete"]
