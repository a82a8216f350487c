"""The graphql-transport-ws protocol: one coroutine a socket, callbacks for the tasks watched over it.

Invariant: a frame that is no message of the protocol closes the socket with 4400 and raises nothing; a socket
that this process ends is closed with 1001, after which clients connect again by themselves; one whose client
nobody knows, or knows no longer, with 4403.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError
from starlette.types import Message, Receive, Send

from gql.admission import Admission
from gql.bearer import init_values
from gql.context import Context
from gql.errors import Unauthenticated
from gql.execution import Execution
from gql.hub import Hub
from gql.live import Live
from gql.outgoing import Outgoing, SendNow
from gql.protocol import CloseCode, message_fault, message_frame, text_frame
from gql.pulse import HEARTBEAT_SECONDS, STUCK_SECONDS, Pulse
from gql.rates import too_many_requests
from gql.request import decode_json
from gql.selection import Request, Selections, encode_json
from taskql.errors import Unavailable
from taskql.ports import RateLimiter

if TYPE_CHECKING:
    from gql.schema import Schema

INIT_SECONDS = 5.0
LIFELESS_SECONDS = 3 * HEARTBEAT_SECONDS
"""So long a client may give no sign of life; it answers our pings, if it is there."""
MAX_REASON_BYTES = 123
"""What a close frame has room for."""

NewContext = Callable[[Sequence[str]], Awaitable[Context]]
"""The context of whoever sent these values of Authorization. Raises Unauthenticated or Unavailable."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What all sockets work with."""

    schema: "Schema"
    selections: Selections
    hub: Hub
    pulse: Pulse
    new_context: NewContext
    admission: Admission
    rates: RateLimiter | None = None


class Socket:
    """One socket and its operations."""

    __slots__ = (
        "_abort",
        "_authorization",
        "_beat_at",
        "_context",
        "_heard_at",
        "_opened_at",
        "_parts",
        "operations",
        "outgoing",
    )

    def __init__(
        self,
        parts: Parts,
        authorization: Sequence[str],
        send: Send,
        abort: Callable[[], object],
        send_now: SendNow | None = None,
    ) -> None:
        self._parts = parts
        self._authorization = authorization
        self._context: Context | None = None
        self._abort = abort
        self._opened_at = self._heard_at = self._beat_at = asyncio.get_running_loop().time()
        self.outgoing = Outgoing(send, send_now)
        self.operations: dict[str, TaskSubscription | Execution] = {}

    async def serve(self, receive: Receive) -> None:
        """Read until the client or we have closed the socket."""
        self._parts.pulse.connections.add(self)
        try:
            while (frame := await receive())["type"] != "websocket.disconnect":
                if not self.outgoing.closed:
                    await self._take(frame)
                if self.outgoing.is_full:
                    await self.outgoing.drained()
        finally:
            self._parts.pulse.connections.discard(self)
            self.outgoing.abandon()
            operations = list(self.operations.values())
            for operation in operations:
                self.forget(operation)
                operation.stop()
            running = [operation.aio_task for operation in operations if isinstance(operation, Execution)]
            if running:
                await asyncio.wait(running)

    def tick(self, now: float) -> None:
        if self.outgoing.stuck_seconds(now) > STUCK_SECONDS:
            self._abort()
        elif self._context is None and now - self._opened_at >= INIT_SECONDS:
            self.close(CloseCode.INIT_TIMEOUT, "Connection initialisation timeout")
        elif self._context is not None and self._context.viewer.is_out(time.time()):
            self.close(CloseCode.FORBIDDEN, "The token has ended")
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

    async def _take(self, frame: Message) -> None:
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
        if isinstance(message, dict) and isinstance(fields := message.get("payload"), dict):
            message["payload"] = self._parts.schema.documents.with_text(fields)
        if fault := message_fault(message, text):
            self.close(CloseCode.BAD_REQUEST, fault)
        else:
            await self._handle(message)  # type: ignore[arg-type]

    async def _handle(self, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "connection_init":
                await self._begin(message.get("payload", {}))
            case "ping":
                self.outgoing.put("pong", text_frame('{"type":"pong"}'))
            case "subscribe":
                await self._subscribe(message["id"], message["payload"])
            case "complete":
                if operation := self.operations.get(message["id"]):
                    self.forget(operation)
                    operation.stop()

    async def _begin(self, payload: Mapping[str, Any]) -> None:
        """Let the client in, if we know who it is. What it says meanwhile waits."""
        if self._context is not None:
            self.close(CloseCode.TOO_MANY_INITS, "Too many initialisation requests")
            return
        try:
            values = init_values(payload, self._authorization)
            self._context = await self._parts.new_context(values)
        except Unauthenticated as error:
            self.close(CloseCode.FORBIDDEN, error.message)
        except Unavailable:
            self.close(CloseCode.TRY_AGAIN_LATER, "It can't be told at present who you are; try again")
        else:
            self.outgoing.put("ack", text_frame('{"type":"connection_ack"}'))

    async def _subscribe(self, id: str, payload: Mapping[str, Any]) -> None:
        if self._context is None:
            self.close(CloseCode.UNAUTHORIZED, "Unauthorized")
        elif id in self.operations:
            self.close(CloseCode.SUBSCRIBER_EXISTS, f"Subscriber for {id} already exists")
        elif refusal := await too_many_requests(self._parts.rates, self._context.owner):
            self._refuse(id, refusal)
        else:
            self._start(id, payload, self._context)

    def _refuse(self, id: str, error: GraphQLError) -> None:
        self.outgoing.put(("error", id), message_frame(id, "error", encode_json([error.formatted])))

    def _start(self, id: str, payload: Mapping[str, Any], context: Context) -> None:
        query, variables = payload["query"], payload.get("variables")
        name = payload.get("operationName") or None
        request = self._parts.selections.read(query, variables, name, context)
        if refusal := self._parts.admission.begin(context.owner, len(self.operations)):
            self._refuse(id, refusal)
        elif request is not None:
            subscription = self.operations[id] = TaskSubscription(self, id, request)
            self._parts.hub.subscribe(subscription, context.viewer.whose, request.task_id)
        else:
            stream = partial(self._parts.schema.stream, query, variables, context, operation_name=name)
            self.operations[id] = Execution(self, id, stream)

    def leave(self, subscription: "TaskSubscription") -> None:
        self._parts.hub.leave(subscription)
        self.forget(subscription)

    def forget(self, operation: "TaskSubscription | Execution") -> None:
        """The client may use its id again. Forgetting twice is forgetting once."""
        if self.operations.get(operation.id) is operation:
            assert self._context is not None
            del self.operations[operation.id]
            self._parts.admission.end(self._context.owner)


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
