"""The graphql-transport-ws protocol: what strawberry's handler leaves open.

Invariant: a frame that is no message of the protocol closes the socket with 4400 and raises nothing; a socket
that this process ends is closed with 1001, after which clients connect again by themselves.
"""

from contextlib import suppress
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from graphql import GraphQLError
from starlette import websockets
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.subscriptions.protocols.graphql_transport_ws.types import SubscribeMessage

from gql.context import Context
from gql.request import field_fault

if TYPE_CHECKING:
    from gql.view import GraphQLView

MAX_OPERATIONS = 1_000
"""Operations of one socket at a time."""
MAX_REASON_BYTES = 123
"""What a close frame has room for."""


class CloseCode(IntEnum):
    """Close codes that we send ourselves; strawberry sends 4401, 4406, 4408, 4409 and 4429."""

    GOING_AWAY = 1001
    BAD_REQUEST = 4400


class WebSocketAdapter(ASGIWebSocketAdapter):
    """A socket that may be closed at any moment, by either side, by any of its operations."""

    async def send_json(self, message: Any) -> None:
        try:
            await super().send_json(message)
        except websockets.WebSocketDisconnected as error:
            raise WebSocketDisconnected from error

    async def close(self, code: int, reason: str) -> None:
        fitting = reason.encode(errors="replace")[:MAX_REASON_BYTES].decode(errors="ignore")
        with suppress(websockets.WebSocketDisconnect, websockets.WebSocketDisconnected):
            await super().close(code, fitting)


class WebSocketHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """One socket and its operations."""

    view: "GraphQLView"

    async def handle(self) -> None:
        self.view.sockets.add(self)
        try:
            await super().handle()
        finally:
            self.view.sockets.discard(self)

    async def go_away(self) -> None:
        await self.websocket.close(CloseCode.GOING_AWAY, "Going away")

    async def handle_message(self, message: Any) -> None:
        if fault := message_fault(message):
            await self.websocket.close(CloseCode.BAD_REQUEST, fault)
        else:
            await super().handle_message(message)

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        if len(self.operations) >= MAX_OPERATIONS and message["id"] not in self.operations:
            await self.send_message({"id": message["id"], "type": "error", "payload": [too_many().formatted]})
        else:
            await super().handle_subscribe(message)

    async def handle_task_exception(self, error: Exception) -> None:
        # A client that leaves while it is being told something is nothing to report.
        if not isinstance(error, WebSocketDisconnected):
            await super().handle_task_exception(error)

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:
        """None: one faulty operation gets an `error` message, and its neighbours live on."""
        return None


def too_many() -> GraphQLError:
    return GraphQLError(
        f"This connection runs {MAX_OPERATIONS} operations already; complete some, or open another one.",
        extensions={"code": "RATE_LIMITED"},
    )


def message_fault(message: object) -> str | None:
    """Why a frame is no message of the protocol, in words; None where it is one."""
    if not isinstance(message, dict):
        return "A message must be a JSON object"
    match message.get("type"):
        case "connection_init" | "ping" | "pong":
            return None if isinstance(message.get("payload", {}), dict) else "`payload` must be an object"
        case "subscribe":
            if not isinstance(message.get("payload"), dict):
                return "`payload` must be an object"
            return id_fault(message) or field_fault(message["payload"])
        case "complete":
            return id_fault(message)
        case _:
            return "`type` must be that of a message to a graphql-transport-ws server"


def id_fault(message: dict[str, Any]) -> str | None:
    identified = isinstance(message.get("id"), str) and message["id"]
    return None if identified else "`id` must be a text that is not empty"
