"""Server-sent events, as graphql-sse's "distinct connections" want them: one stream an operation."""

from collections.abc import AsyncIterator, Iterable
from typing import Any

from anyio import CancelScope
from starlette.responses import StreamingResponse
from starlette.types import Send
from strawberry.http.streaming import SSETransport
from strawberry.types.graphql import OperationType

EVENT_STREAM = "text/event-stream"
HEARTBEAT_SECONDS = 12
"""Below the 15 s after which some proxies call a silent connection dead."""


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
