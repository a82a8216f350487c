"""Server-sent events, as graphql-sse's "distinct connections" want them: one stream an operation."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

from anyio import CancelScope
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from strawberry.http.streaming import merge_stream_with_heartbeat

from gql.answers import payload
from gql.hub import Hub
from gql.live import Live
from gql.negotiation import MediaType
from gql.outgoing import Outgoing
from gql.permissions import ended
from gql.pulse import HEARTBEAT_SECONDS, STUCK_SECONDS, Pulse, abort_of
from gql.selection import Request, encode_json
from gql.viewer import Viewer

HEADERS = {
    "Content-Type": f"{MediaType.EVENT_STREAM}; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",  # nginx would keep events back to send more at once
    "Vary": "Accept, Authorization",
}
RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
PING = ": ping\r\n\r\n"
COMPLETE = "event: complete\r\ndata: \r\n\r\n"
"""Browsers drop an event without a data field."""


class EventStream(StreamingResponse):
    """The results of any operation, as they come.

    It can be cut: it ends without `complete`, which tells a client to connect again.
    """

    def __init__(self, open_streams: "set[EventStream]", results: AsyncGenerator[Any, None]) -> None:
        self._chunks = merge_stream_with_heartbeat(
            partial(events, results), lambda: PING, HEARTBEAT_SECONDS, send_initial_heartbeat=False
        )()
        super().__init__(self._chunks, headers=HEADERS)
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


async def events(results: AsyncGenerator[Any, None]) -> AsyncGenerator[str, None]:
    async with aclosing(results):
        async for result in results:
            yield next_event(encode_json(payload(result)))
    yield COMPLETE


def next_event(text: str) -> str:
    return f"event: next\r\ndata: {text}\r\n\r\n"


class TaskStream:
    """The answer to a subscription to one task: the hub's texts, without a task or a generator of our own."""

    def __init__(self, request: Request, viewer: Viewer, hub: Hub, pulse: Pulse) -> None:
        self._request = request
        self._viewer = viewer
        self._hub = hub
        self._pulse = pulse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": RAW_HEADERS})
        stream = LiveStream(self._request, self._viewer, self._hub, Outgoing(send), abort_of(scope))
        self._pulse.connections.add(stream)
        self._hub.subscribe(stream, self._viewer.whose, self._request.task_id)
        try:
            # Once the client has gone, or once we have sent all.
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self._pulse.connections.discard(stream)
            stream.stop()


class LiveStream(Live):
    """One open stream."""

    __slots__ = ("_abort", "_beat_at", "_hub", "_viewer")

    def __init__(
        self, request: Request, viewer: Viewer, hub: Hub, outgoing: Outgoing, abort: Callable[[], object]
    ) -> None:
        super().__init__(request.selection, request.after_version, outgoing)
        self._viewer = viewer
        self._hub = hub
        self._abort = abort
        self._beat_at = asyncio.get_running_loop().time()

    def frame(self, text: str) -> Message:
        return chunk(next_event(text))

    def last_frame(self) -> Message:
        return chunk(COMPLETE, more=False)

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
        elif self.watched is not None and self._viewer.is_out(time.time()):
            self.end(ended())
        elif now - self._beat_at >= HEARTBEAT_SECONDS:
            self._beat_at = now
            self._outgoing.put("ping", chunk(PING))

    def go_away(self) -> None:
        """Ending without `complete` tells a client to connect again."""
        self._outgoing.close(chunk("", more=False))


def chunk(text: str, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": text.encode(), "more_body": more}
