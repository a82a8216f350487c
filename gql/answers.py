"""An answer to a GraphQL request over HTTP: its status, its headers, its body.

Invariant: STATUSES is the only place where a code becomes a status, and an answer without `data` says in its
status what is wrong, as far as the media type lets it: `application/json` means 200 for whatever a document
did wrong, `application/graphql-response+json` does not.
"""

from collections.abc import Iterable, Mapping
from math import ceil
from typing import Any

from starlette.types import Receive, Scope, Send
from strawberry.types import ExecutionResult
from strawberry.types.execution import PreExecutionError

from gql.errors import ErrorCode, format_error
from gql.negotiation import MediaType
from gql.selection import encode_json

STATUSES = {
    ErrorCode.BAD_USER_INPUT: 400,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.TOO_COMPLEX: 400,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.TIMEOUT: 503,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.OUTDATED: 500,
    ErrorCode.INTERNAL: 500,
}
"""Of answers without `data`. What a transport refuses may have a status of its own: 405, 406, 415."""
OF_THE_DOCUMENT = {ErrorCode.BAD_USER_INPUT, ErrorCode.FORBIDDEN, ErrorCode.NOT_FOUND, ErrorCode.TOO_COMPLEX}
"""What has the status 200 as application/json: clients of that time read errors nowhere else."""

Headers = Iterable[tuple[bytes, bytes]]
NOT_KEPT = [(b"cache-control", b"no-store"), (b"vary", b"Accept, Authorization")]
CONTENT_TYPES = {kind: kind for kind in MediaType} | {MediaType.EVENT_STREAM: MediaType.JSON}
"""Whoever wants an event stream and gets an answer is given it in JSON."""
HEADERS = {
    kind: [(b"content-type", f"{written}; charset=utf-8".encode()), *NOT_KEPT]
    for kind, written in CONTENT_TYPES.items()
}


class Answer:
    """JSON, as an ASGI app that sends it."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, content: Mapping[str, Any] | str, kind: MediaType, status: int = 200, headers: Headers = ()
    ) -> None:
        """`content` may be a text of JSON already."""
        self.body = (content if isinstance(content, str) else encode_json(content)).encode()
        self.status = status
        length = (b"content-length", str(len(self.body)).encode())
        self.headers = [length, *HEADERS[kind], *headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


async def deny(answer: Answer, send: Send) -> None:
    """Answer a WebSocket's handshake without accepting it."""
    start = {"type": "websocket.http.response.start", "status": answer.status, "headers": answer.headers}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": answer.body})


def answer_of(result: ExecutionResult, kind: MediaType, headers: Headers = ()) -> Answer:
    """A result as HTTP carries it."""
    content = payload(result)
    if "data" in content:
        return Answer(content, kind, headers=headers)
    return error_answer(content["errors"], kind, headers, content.get("extensions"))


def error_answer(
    errors: list[Any], kind: MediaType, headers: Headers = (), about: Mapping[str, Any] | None = None
) -> Answer:
    """The answer to a request that came to nothing; `about` is what else is told of it."""
    extensions = errors[0]["extensions"]
    code = ErrorCode(extensions["code"])
    is_trusted = kind is MediaType.GRAPHQL or code not in OF_THE_DOCUMENT
    after = extensions.get("retryAfter")
    more = [] if after is None else [(b"retry-after", str(ceil(after)).encode())]
    content = {"errors": errors} | ({"extensions": about} if about else {})
    return Answer(content, kind, STATUSES[code] if is_trusted else 200, [*headers, *more])


def payload(result: ExecutionResult) -> dict[str, Any]:
    """A result as JSON carries it. A refusal has no `data`: not even null came of it."""
    answer: dict[str, Any] = {} if is_refusal(result) else {"data": result.data}
    if result.errors:
        answer["errors"] = [format_error(error) for error in result.errors]
    if result.extensions:
        answer["extensions"] = result.extensions
    return answer


def is_refusal(result: ExecutionResult) -> bool:
    """Whether nothing came of it: no resolver has an error that would say where."""
    if isinstance(result, PreExecutionError):
        return True
    errors = result.errors or ()
    return result.data is None and bool(errors) and all(error.path is None for error in errors)
