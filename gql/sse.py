"""Server-sent events, as graphql-sse's "distinct connections" want them: one stream an operation."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from anyio import CancelScope
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from strawberry.http.streaming import SSETransport
from strawberry.types.graphql import OperationType

from gql.hub import Hub
from gql.live import Live
from gql.outgoing import Outgoing
from gql.pulse import HEARTBEAT_SECONDS, STUCK_SECONDS, Pulse, abort_of
from gql.selection import Request

EVENT_STREAM = "text/event-stream"
HEADERS = [(name.lower().encode(), value.encode()) for name, value in SSETransport.headers.items()]


class EventStreamTransport(SSETransport):
    """Streams to whoever asks for a stream first, and to nobody else."""

    def __init__(self) -> None:
        super().__init__(heartbeat_interval=HEARTBEAT_SECONDS)

    def accepts(self, accept: str) -> bool:
        return preferred(accept) == EVENT_STREAM

    def allowed_operation_types(self, allowed: set[OperationType]) -> Iterable[OperationType]:
        return allowed | {OperationType.SUBSCRIPTION}


def preferred(accept: str) -> str:
    """The media type that an Accept header likes best; of equals, the first.

    urql names text/event-stream after the JSON types with every query: that is no wish for a stream.
    """
    return max((weighted(part) for part in accept.split(",")), key=lambda choice: choice[1])[0]


def weighted(part: str) -> tuple[str, float]:
    media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    try:
        return media_type, float(weight)
    except ValueError:
        return media_type, 0.0


class EventStream(StreamingResponse):
    """A stream that can be cut: it ends without `complete`, which tells a client to connect again."""

    def __init__(self, open_streams: "set[EventStream]", chunks: AsyncIterator[str], **how: Any) -> None:
        super().__init__(chunks, **how)
        self._chunks = chunks
        self._open_streams = open_streams
        self._sending = CancelScope()

    def cut(self) -> None:
        self._sending.cancel()

    async def stream_response(self, send: Send) -> None:
        self._open_streams.add(self)
        try:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            with self._sending:
                async for chunk in self._chunks:
                    await send({"type": "http.response.body", "body": chunk.encode(), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._open_streams.discard(self)


class TaskStream:
    """The answer to a subscription to one task: the hub's texts, without a task or a generator of our own."""

    def __init__(self, request: Request, owner: str, hub: Hub, pulse: Pulse) -> None:
        self._request = request
        self._owner = owner
        self._hub = hub
        self._pulse = pulse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        stream = LiveStream(self._request, self._hub, Outgoing(send), abort_of(scope))
        self._pulse.connections.add(stream)
        self._hub.subscribe(stream, self._owner, self._request.task_id)
        try:
            # Once the client has gone, or once we have sent all.
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self._pulse.connections.discard(stream)
            stream.stop()


class LiveStream(Live):
    """One open stream."""

    __slots__ = ("_abort", "_beat_at", "_hub")

    def __init__(self, request: Request, hub: Hub, outgoing: Outgoing, abort: Callable[[], object]) -> None:
        super().__init__(request.selection, request.after_version, outgoing)
        self._hub = hub
        self._abort = abort
        self._beat_at = asyncio.get_running_loop().time()

    def frame(self, text: str) -> Message:
        return chunk(f"event: next\r\ndata: {text}\r\n\r\n")

    def last_frame(self) -> Message:
        return chunk("event: complete\r\ndata: \r\n\r\n", more=False)

    def forget(self) -> None:
        self._hub.leave(self)

    def stop(self) -> None:
        """The client has gone."""
        self._late = None
        self._outgoing.abandon()
        self._hub.leave(self)

    def tick(self, now: float) -> None:
        if self._outgoing.stuck_seconds(now) > STUCK_SECONDS:
            self._abort()
        elif now - self._beat_at >= HEARTBEAT_SECONDS:
            self._beat_at = now
            self._outgoing.put("ping", chunk(": ping\r\n\r\n"))

    def go_away(self) -> None:
        """Ending without `complete` tells a client to connect again."""
        self._outgoing.close(chunk("", more=False))


def chunk(text: str, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": text.encode(), "more_body": more}
