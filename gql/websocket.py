"""The graphql-transport-ws protocol: one coroutine a socket, callbacks for the tasks watched over it.

Invariant: a frame that is no message of the protocol closes the socket with 4400 and raises nothing; a socket
that this process ends is closed with 1001, after which clients connect again by themselves.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError
from starlette.types import Message, Receive, Send

from gql.context import Context
from gql.execution import Execution
from gql.hub import Hub
from gql.live import Live
from gql.outgoing import Outgoing
from gql.protocol import CloseCode, message_fault, message_frame, text_frame
from gql.pulse import HEARTBEAT_SECONDS, STUCK_SECONDS, Pulse
from gql.request import decode_json
from gql.selection import Request, Selections, encode_json

if TYPE_CHECKING:
    from gql.schema import Schema

INIT_SECONDS = 5.0
LIFELESS_SECONDS = 3 * HEARTBEAT_SECONDS
"""So long a client may give no sign of life; it answers our pings, if it is there."""
MAX_OPERATIONS = 1_000
"""Operations of one socket at a time."""
MAX_REASON_BYTES = 123
"""What a close frame has room for."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What all sockets work with."""

    schema: "Schema"
    selections: Selections
    hub: Hub
    pulse: Pulse


class Socket:
    """One socket and its operations."""

    __slots__ = (
        "_abort",
        "_acknowledged",
        "_beat_at",
        "_context",
        "_heard_at",
        "_opened_at",
        "_parts",
        "operations",
        "outgoing",
    )

    def __init__(self, parts: Parts, context: Context, send: Send, abort: Callable[[], object]) -> None:
        self._parts = parts
        self._context = context
        self._abort = abort
        self._acknowledged = False
        self._opened_at = self._heard_at = self._beat_at = asyncio.get_running_loop().time()
        self.outgoing = Outgoing(send)
        self.operations: dict[str, TaskSubscription | Execution] = {}

    async def serve(self, receive: Receive) -> None:
        """Read until the client or we have closed the socket."""
        self._parts.pulse.connections.add(self)
        try:
            while (frame := await receive())["type"] != "websocket.disconnect":
                if not self.outgoing.closed:
                    self._take(frame)
                if self.outgoing.is_full:
                    await self.outgoing.drained()
        finally:
            self._parts.pulse.connections.discard(self)
            self.outgoing.abandon()
            operations = list(self.operations.values())
            for operation in operations:
                operation.stop()
            running = [operation.aio_task for operation in operations if isinstance(operation, Execution)]
            if running:
                await asyncio.wait(running)

    def tick(self, now: float) -> None:
        if self.outgoing.stuck_seconds(now) > STUCK_SECONDS:
            self._abort()
        elif not self._acknowledged and now - self._opened_at >= INIT_SECONDS:
            self.close(CloseCode.INIT_TIMEOUT, "Connection initialisation timeout")
        elif now - self._heard_at > LIFELESS_SECONDS:
            self.close(CloseCode.GOING_AWAY, "No sign of life")
        elif now - self._beat_at >= HEARTBEAT_SECONDS:
            self._beat_at = now
            self.outgoing.put("ping", text_frame('{"type":"ping"}'))

    def go_away(self) -> None:
        self.close(CloseCode.GOING_AWAY, "Going away")

    def close(self, code: int, reason: str) -> None:
        """Say why, and stop: what still waits is not sent."""
        fitting = reason.encode(errors="replace")[:MAX_REASON_BYTES].decode(errors="ignore")
        self.outgoing.close({"type": "websocket.close", "code": int(code), "reason": fitting})

    # ------------------------------------------------------------ messages

    def _take(self, frame: Message) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        text = frame.get("text")
        if text is None:
            self.close(CloseCode.BAD_REQUEST, "WebSocket message type must be text")
            return
        try:
            message = decode_json(text)
        except json.JSONDecodeError:
            self.close(CloseCode.BAD_REQUEST, "WebSocket message must be valid JSON")
            return
        if fault := message_fault(message):
            self.close(CloseCode.BAD_REQUEST, fault)
        else:
            self._handle(message)  # type: ignore[arg-type]

    def _handle(self, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "connection_init":
                self._acknowledge()
            case "ping":
                self.outgoing.put("pong", text_frame('{"type":"pong"}'))
            case "subscribe":
                self._subscribe(message["id"], message["payload"])
            case "complete":
                if operation := self.operations.pop(message["id"], None):
                    operation.stop()

    def _acknowledge(self) -> None:
        if self._acknowledged:
            self.close(CloseCode.TOO_MANY_INITS, "Too many initialisation requests")
        else:
            self._acknowledged = True
            self.outgoing.put("ack", text_frame('{"type":"connection_ack"}'))

    def _subscribe(self, id: str, payload: Mapping[str, Any]) -> None:
        if not self._acknowledged:
            self.close(CloseCode.UNAUTHORIZED, "Unauthorized")
        elif id in self.operations:
            self.close(CloseCode.SUBSCRIBER_EXISTS, f"Subscriber for {id} already exists")
        elif len(self.operations) >= MAX_OPERATIONS:
            self.outgoing.put(("error", id), message_frame(id, "error", encode_json([too_many().formatted])))
        else:
            self._start(id, payload)

    def _start(self, id: str, payload: Mapping[str, Any]) -> None:
        query, variables = payload["query"], payload.get("variables")
        name = payload.get("operationName") or None
        request = self._parts.selections.read(query, variables, name, self._context)
        if request is not None:
            subscription = self.operations[id] = TaskSubscription(self, id, request)
            self._parts.hub.subscribe(subscription, self._context.owner, request.task_id)
        else:
            stream = partial(self._parts.schema.stream, query, variables, self._context, operation_name=name)
            self.operations[id] = Execution(self, id, stream)

    def leave(self, subscription: "TaskSubscription") -> None:
        self._parts.hub.leave(subscription)
        if self.operations.get(subscription.id) is subscription:
            del self.operations[subscription.id]


class TaskSubscription(Live):
    """One operation that watches a task."""

    __slots__ = ("_head", "_socket", "id")

    def __init__(self, socket: Socket, id: str, request: Request) -> None:
        super().__init__(request.selection, request.after_version, socket.outgoing)
        self._socket = socket
        self._head = f'{{"id":{json.dumps(id)},"type":"next","payload":'
        self.id = id

    def frame(self, text: str) -> Message:
        return text_frame(self._head + text + "}")

    def last_frame(self) -> Message:
        return message_frame(self.id, "complete")

    def forget(self) -> None:
        self._socket.leave(self)

    def stop(self) -> None:
        """The client wants no more of it."""
        self._late = None
        self._socket.leave(self)
        self._outgoing.discard(self)


def too_many() -> GraphQLError:
    return GraphQLError(
        f"This connection runs {MAX_OPERATIONS} operations already; complete some, or open another one.",
        extensions={"code": "RATE_LIMITED"},
    )
