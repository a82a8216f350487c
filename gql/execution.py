"""An operation over a WebSocket that the schema itself carries out: queries, mutations, other subscriptions.

Invariant: each costs one asyncio task, and pulls its next result only when the client has taken the last.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from strawberry.types.execution import ExecutionResult, PreExecutionError

from gql.errors import format_error
from gql.protocol import message_frame
from gql.selection import encode_json

if TYPE_CHECKING:
    from gql.websocket import Socket

logger = logging.getLogger(__name__)

Stream = Callable[[], Awaitable[AsyncGenerator[Any, None]]]


class Execution:
    """One operation, from its start on."""

    __slots__ = ("_socket", "aio_task", "id")

    def __init__(self, socket: "Socket", id: str, stream: Stream) -> None:
        self._socket = socket
        self.id = id
        self.aio_task = asyncio.create_task(self._run(stream))

    def stop(self) -> None:
        """The client wants no more of it."""
        self.aio_task.cancel()
        self._socket.outgoing.discard(self)

    async def _run(self, stream: Stream) -> None:
        try:
            async with aclosing(await stream()) as results:
                async for result in results:
                    if isinstance(result, PreExecutionError):
                        await self._refuse(result)
                        return
                    await self._send("next", payload(result))
        except Exception:
            # Of what resolvers raise the schema makes results; this is a fault of ours.
            logger.exception("An operation broke off")
        self._socket.forget(self)  # before its last message: then the client may use the id again
        await self._send("complete")

    async def _refuse(self, result: ExecutionResult) -> None:
        """The operation never began."""
        self._socket.forget(self)
        await self._send("error", [format_error(error) for error in result.errors or ()])

    async def _send(self, kind: str, payload: object = None) -> None:
        await self._socket.outgoing.drained()
        text = None if payload is None else encode_json(payload)
        self._socket.outgoing.put(self, message_frame(self.id, kind, text))


def payload(result: ExecutionResult) -> dict[str, Any]:
    answer: dict[str, Any] = {"data": result.data}
    if result.errors:
        answer["errors"] = [format_error(error) for error in result.errors]
    if result.extensions:
        answer["extensions"] = result.extensions
    return answer
