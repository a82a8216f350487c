"""The GraphQL endpoint: HTTP, server-sent events and WebSockets over one schema.

Invariant: every HTTP answer is JSON or an event stream (or a browser's page), and `__call__` is the one place
where something that is no GraphQL result becomes an answer.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cross_web import AsyncHTTPRequestAdapter, HTTPException
from graphql import GraphQLError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLRequestData
from strawberry.http.base import BaseRequestProtocol
from strawberry.http.parse_content_type import parse_content_type
from strawberry.http.streaming import HTTPStreamTransport
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from gql import pages
from gql.context import Context
from gql.errors import format_error
from gql.hub import Hub
from gql.protocol import SUBPROTOCOL, CloseCode
from gql.pulse import Pulse, abort_of
from gql.request import BoundedRequest, Refused, body_fields, decode_json, field_fault, query_fields
from gql.selection import Selections, encode_json
from gql.sse import EventStream, EventStreamTransport, TaskStream
from gql.websocket import Parts, Socket

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
OPERATION_TYPES = {
    "GET": {OperationType.QUERY},
    "POST": {OperationType.QUERY, OperationType.MUTATION},
}

if TYPE_CHECKING:
    from gql.schema import Schema

ContextFactory = Callable[[Request | WebSocket], Context]


class StreamInstead(Exception):
    """The request is for a stream that needs nothing more of strawberry."""

    def __init__(self, stream: TaskStream) -> None:
        super().__init__()
        self.stream = stream


class GraphQLView(GraphQL[Context, None]):
    """The endpoint as an ASGI app. `pulse` and `streams` are what is open, to be told when we go away."""

    request_adapter_class = BoundedRequest
    stream_transport_classes_by_protocol: Mapping[str, type[HTTPStreamTransport]] = {
        GRAPHQL_SSE_PROTOCOL: EventStreamTransport
    }

    def __init__(self, schema: "Schema", new_context: ContextFactory, hub: Hub) -> None:
        super().__init__(schema, subscription_protocols=(GRAPHQL_SSE_PROTOCOL,))
        self._new_context = new_context
        self._hub = hub
        self.pulse = Pulse()
        self._parts = Parts(schema, Selections(schema), hub, self.pulse)
        self.streams: set[EventStream] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            return await self._serve_socket(scope, receive, send)
        response: Response | TaskStream
        try:
            response = await self.run(Request(scope, receive))
        except StreamInstead as instead:
            response = instead.stream
        except ClientDisconnect:
            return None
        except Refused as refused:
            response = refused.response()
        except HTTPException as error:
            response = Refused(error.status_code, error.reason).response()
        except Exception as error:
            response = internal_error(error)
        await response(scope, receive, send)

    async def go_away(self) -> None:
        """End what would never end by itself, so that its clients come back elsewhere."""
        for stream in self.streams:
            stream.cut()
        await self.pulse.go_away()

    # ------------------------------------------------------------ requests

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        return self._new_context(request)

    def is_request_allowed(self, request: BaseRequestProtocol) -> bool:
        if request.method not in OPERATION_TYPES and not self.should_render_graphql_ide(request):
            raise Refused(405, "Use POST, or GET for a query.", headers={"Allow": "GET, POST"})
        return True

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> GraphQLRequestData:
        if request.method == "GET":
            fields = query_fields(request.query_params)
        elif parse_content_type(request.content_type or "")[0].lower() == "application/json":
            fields = body_fields(await request.get_body())
        else:
            raise Refused(415, "Send the operation as JSON, with `Content-Type: application/json`.")
        if fault := field_fault(fields):
            raise Refused(400, fault)
        transport = self._get_stream_transport_from_headers(request.headers)
        return GraphQLRequestData(
            query=fields["query"],
            variables=fields.get("variables"),
            operation_name=fields.get("operationName") or None,
            extensions=fields.get("extensions"),
            protocol=transport.protocol if transport else "http",
        )

    def decode_json(self, data: str | bytes) -> object:
        return decode_json(data)

    def encode_json(self, data: object) -> str:
        return encode_json(data)

    # ------------------------------------------------------------ answers

    async def execute_operation(
        self,
        request: Request,
        request_adapter: AsyncHTTPRequestAdapter,
        request_data: GraphQLRequestData | list[GraphQLRequestData],
        context: Context,
        root_value: None,
        sub_response: Response,
    ) -> Any:
        if isinstance(request_data, GraphQLRequestData) and request_data.protocol != "http":
            self._stream_task(request_data, context)
        return await super().execute_operation(
            request, request_adapter, request_data, context, root_value, sub_response
        )

    def _stream_task(self, data: GraphQLRequestData, context: Context) -> None:
        """Raises StreamInstead for a subscription to one task; whatever else it is, strawberry streams."""
        assert data.query is not None
        wanted = self._parts.selections.read(data.query, data.variables, data.operation_name, context)
        if wanted is not None:
            raise StreamInstead(TaskStream(wanted, context.owner, self._hub, self.pulse))

    async def execute_single(
        self,
        request: Request,
        request_adapter: AsyncHTTPRequestAdapter,
        sub_response: Response,
        context: Context,
        root_value: None,
        request_data: GraphQLRequestData,
    ) -> ExecutionResult:
        method = request_adapter.method
        try:
            return await self.schema.execute(
                request_data.query,
                variable_values=request_data.variables,
                context_value=context,
                operation_name=request_data.operation_name,
                allowed_operation_types=OPERATION_TYPES[method],
                operation_extensions=request_data.extensions,
            )
        except InvalidOperationTypeError as error:
            raise wrong_way(error.operation_type) from None
        except CannotGetOperationTypeError as error:
            raise Refused(400, unknown_operation(error.operation_name)) from None

    async def create_streaming_response(
        self,
        request: Request | WebSocket,
        stream: Callable[[], AsyncIterator[str]],
        sub_response: Response,
        headers: Mapping[str, str],
    ) -> Response:
        return EventStream(self.streams, stream(), headers=headers)

    def should_render_graphql_ide(self, request: BaseRequestProtocol) -> bool:
        return (
            request.method in ("GET", "HEAD")
            and not request.query_params.get("query")
            and "text/html" in request.headers.get("accept", "")
        )

    async def render_graphql_ide(self, request: Request) -> Response:
        return pages.graphiql()

    # ------------------------------------------------------------ sockets

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        handshake = WebSocket(scope, receive, send)
        if not self._check_websocket_origin(handshake):
            await handshake.close()  # before accepting: the server answers with 403
            return
        if SUBPROTOCOL not in scope["subprotocols"]:
            await handshake.accept()
            await handshake.close(CloseCode.SUBPROTOCOL_NOT_ACCEPTABLE, "Subprotocol not acceptable")
            return
        context = self._new_context(handshake)
        await handshake.accept(SUBPROTOCOL)
        del handshake  # which an open socket would keep for nothing
        await Socket(self._parts, context, send, abort_of(scope)).serve(receive)

    def is_websocket_origin_allowed(self, request: WebSocket, origin: str) -> bool:
        """Besides pages of our own and clients that are no browsers: pages on this machine, at any port."""
        return is_loopback(origin) and is_loopback(f"//{request.headers.get('host', '')}")


def wrong_way(operation_type: OperationType) -> Refused:
    """The refusal of an operation that its request can't carry."""
    if operation_type is OperationType.MUTATION:
        return Refused(405, "A mutation needs a POST request.", headers={"Allow": "POST"})
    return Refused(
        400,
        "A subscription needs a stream: use a WebSocket (graphql-transport-ws), "
        "or send `Accept: text/event-stream`.",
    )


def unknown_operation(name: str | None) -> str:
    if name is None:
        return "The document has no operation, or several: name one with `operationName`."
    return f"The document has no operation named {json.dumps(name)}."


def internal_error(error: Exception) -> Response:
    """The answer to what should never happen: the log has the cause, the client an id."""
    shown = format_error(GraphQLError(str(error), original_error=error))
    return JSONResponse({"errors": [shown]}, status_code=500)


def is_loopback(url: str) -> bool:
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False
