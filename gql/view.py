"""The GraphQL endpoint: HTTP, server-sent events and WebSockets over one schema.

Invariant: every HTTP answer is JSON or an event stream (or a browser's page), and `__call__` is the one place
where something that is no GraphQL result becomes an answer.
"""

import json
from collections.abc import Collection
from typing import TYPE_CHECKING

from graphql import GraphQLError
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError
from strawberry.types.graphql import OperationType

from gql import pages
from gql.admission import Admission, Admitted, address_of, refused
from gql.answers import Answer, answer_of, deny, error_answer
from gql.context import Context
from gql.errors import BadUserInput, Coded, Unauthenticated, format_error
from gql.hub import Hub
from gql.marking import mark, told
from gql.negotiation import MediaType, accepted
from gql.origins import Origins
from gql.outgoing import send_now_of
from gql.plans import Plans
from gql.protocol import SUBPROTOCOL, CloseCode
from gql.pulse import Pulse, abort_of
from gql.rates import count_request, with_rate
from gql.request import Operation, Refused, Request, read_operation
from gql.selection import Selections
from gql.sse import EventStream, TaskStream
from gql.websocket import NewContext, Parts, Socket
from taskql.marks import begin_operation
from taskql.ports import RateLimiter

OPERATION_TYPES = {
    "GET": (OperationType.QUERY,),
    "POST": (OperationType.QUERY, OperationType.MUTATION),
}

if TYPE_CHECKING:
    from gql.schema import Schema


class GraphQLView:
    """The endpoint as an ASGI app. `pulse` and `streams` are what is open, to be told when we go away."""

    def __init__(
        self,
        schema: "Schema",
        new_context: NewContext,
        hub: Hub,
        origins: Origins | None = None,
        rates: RateLimiter | None = None,
    ) -> None:
        self._schema = schema
        self._new_context = new_context
        self._hub = hub
        self._origins = origins or Origins()
        self._plans = Plans(schema)
        self.pulse = Pulse()
        self._rates = rates
        self.admission = Admission(schema.limits)
        self._parts = Parts(schema, Selections(schema), hub, self.pulse, new_context, self.admission, rates)
        self.streams: set[EventStream] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            return await self._serve_socket(scope, receive, send)
        mark(scope)
        send = told(send)
        request = Request(scope, receive)
        kind = accepted(request.header(b"accept"))
        try:
            answer = await self._answer(request, kind)
        except ClientDisconnect:
            return None
        except Refused as problem:
            answer = refusal(problem, kind)
        except Coded as error:
            answer = error_answer([format_error(error)], kind or MediaType.JSON, challenge(error))
        except Exception as error:
            answer = internal_error(error, kind or MediaType.JSON)
        if self._rates is not None:
            send = with_rate(scope, send)
        await answer(scope, receive, send)

    async def go_away(self) -> None:
        """End what would never end by itself, so that its clients come back elsewhere."""
        for stream in self.streams:
            stream.cut()
        await self.pulse.go_away()

    # ------------------------------------------------------------ requests

    async def _answer(self, request: Request, kind: MediaType | None) -> ASGIApp:
        if pages.is_wanted(request):
            return pages.graphiql()
        if request.method not in OPERATION_TYPES:
            raise Refused(405, "Use POST, or GET for a query.", headers={"Allow": "GET, POST"})
        if kind is None:
            raise Refused(406, f"Accept one of these: {', '.join(MediaType)}.")
        context = await self._new_context(request.headers(b"authorization"))
        if self._rates is not None:
            await count_request(self._rates, context.owner, request.scope)
        limits, documents = self._schema.limits, self._schema.documents
        operation = await read_operation(request, limits.request_bytes, documents.with_text)
        allowed = OPERATION_TYPES[request.method]
        if kind is MediaType.EVENT_STREAM:
            stream = await self._stream(operation, context, allowed)
            return Admitted(stream, self.admission, context.owner)
        found = await self._plans.answer(operation, context, allowed)
        if isinstance(found, str):
            return Answer(found, kind)
        return answer_of(found or await self._execute(operation, context, allowed), kind)

    async def _execute(
        self, operation: Operation, context: Context, allowed: Collection[OperationType]
    ) -> ExecutionResult:
        try:
            return await self._schema.execute(
                operation.query,
                variable_values=operation.variables,
                context_value=context,
                operation_name=operation.name,
                allowed_operation_types=allowed,
                operation_extensions=operation.extensions,
            )
        except InvalidOperationTypeError as error:
            raise wrong_way(error.operation_type) from None
        except CannotGetOperationTypeError as error:
            return PreExecutionError(data=None, errors=[unknown_operation(error.operation_name)])

    async def _stream(
        self, operation: Operation, context: Context, allowed: Collection[OperationType]
    ) -> ASGIApp:
        """A subscription to one task needs nothing but the hub; whatever else it is, the schema streams."""
        wanted = self._parts.selections.read(operation.query, operation.variables, operation.name, context)
        if wanted is not None:
            begin_operation(operation.name)
            return TaskStream(wanted, context.viewer, self._hub, self.pulse)
        results = await self._schema.stream(
            operation.query,
            variable_values=operation.variables,
            context_value=context,
            operation_name=operation.name,
            operation_extensions=operation.extensions,
            allowed_operation_types=(*allowed, OperationType.SUBSCRIPTION),
        )
        return EventStream(self.streams, results)

    # ------------------------------------------------------------ sockets

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        handshake = WebSocket(scope, receive, send)
        if not self._origins.welcome(handshake.headers):
            await handshake.close()  # before accepting: the server answers with 403
            return
        if SUBPROTOCOL not in scope["subprotocols"]:
            await handshake.accept()
            await handshake.close(CloseCode.SUBPROTOCOL_NOT_ACCEPTABLE, "Subprotocol not acceptable")
            return
        address = address_of(scope)
        if full := self.admission.connect(address):
            await deny(refused(full), send)
            return
        try:
            authorization = handshake.headers.getlist("authorization")
            await handshake.accept(SUBPROTOCOL, mark(scope))
            del handshake  # which an open socket would keep for nothing
            socket = Socket(self._parts, authorization, send, abort_of(scope), send_now_of(scope))
            await socket.serve(receive)
        finally:
            self.admission.disconnect(address)


def wrong_way(operation_type: OperationType) -> Refused:
    """The refusal of an operation that its request can't carry."""
    if operation_type is OperationType.MUTATION:
        return Refused(405, "A mutation needs a POST request.", headers={"Allow": "POST"})
    return Refused(
        400,
        "A subscription needs a stream: use a WebSocket (graphql-transport-ws), "
        "or send `Accept: text/event-stream`.",
    )


def unknown_operation(name: str | None) -> BadUserInput:
    if name is None:
        return BadUserInput("The document has no operation, or several: name one with `operationName`.")
    return BadUserInput(f"The document has no operation named {json.dumps(name)}.")


def refusal(refused: Refused, kind: MediaType | None) -> Answer:
    """The answer to what GraphQL never saw."""
    error = {"message": str(refused), "extensions": {"code": refused.code.value}}
    headers = [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
    return Answer({"errors": [error]}, kind or MediaType.JSON, refused.status, headers)


def challenge(error: Coded) -> list[tuple[bytes, bytes]]:
    """What a client without a token that will do is told in HTTP's own words."""
    if not isinstance(error, Unauthenticated):
        return []
    return [(b"www-authenticate", b'Bearer error="invalid_token"' if error.token_given else b"Bearer")]


def internal_error(error: Exception, kind: MediaType) -> Answer:
    """The answer to an outage, or to what should never happen: the log has the cause, the client an id."""
    shown = format_error(GraphQLError(str(error), original_error=error))
    return error_answer([shown], kind)
