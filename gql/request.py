"""A GraphQL request as HTTP carries it: bounded, decoded, checked, or refused.

Invariant: whatever a client sends becomes a well-formed request or a `Refused`, which the view answers with
JSON; nothing a client sends is ever a 500.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from cross_web import StarletteRequestAdapter
from starlette.responses import JSONResponse

MAX_REQUEST_BYTES = 1024 * 1024
"""A body's size, and a WebSocket message's."""
MAX_DISCARDED_BYTES = 16 * 1024 * 1024
"""So much of a body that is too large is read all the same: many clients hear no answer while they send."""
MAX_JSON_DEPTH = 100
"""Far beyond any sensible variable, far below what recursion can take."""


class Refused(Exception):
    """The request can't be carried out; says so to the client, with what to do."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "BAD_USER_INPUT",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers

    def response(self) -> JSONResponse:
        error = {"message": str(self), "extensions": {"code": self.code}}
        return JSONResponse({"errors": [error]}, self.status, self.headers)


class BoundedRequest(StarletteRequestAdapter):
    """A request whose body can't fill the memory, whatever its headers say."""

    async def get_body(self) -> bytes:
        body = bytearray()
        size = 0
        async for chunk in self._request.stream():
            size += len(chunk)
            if size <= MAX_REQUEST_BYTES:
                body += chunk
            elif size > MAX_DISCARDED_BYTES:
                break
        if size > MAX_REQUEST_BYTES:
            raise too_large()
        return bytes(body)


def too_large() -> Refused:
    return Refused(413, f"The body is larger than {MAX_REQUEST_BYTES} bytes; send less.", code="TOO_LARGE")


def decode_json(data: str | bytes) -> object:
    """JSON as the standard has it: UTF-8, no NaN, no bottomless nesting. Raises JSONDecodeError alone."""
    try:
        value: object = STRICT.decode(data if isinstance(data, str) else data.decode())
        check_depth(data, value)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise json.JSONDecodeError(str(error), "", 0) from None
    return value


def refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


STRICT = json.JSONDecoder(parse_constant=refuse_constant)


def check_depth(data: str | bytes, value: object) -> None:
    """Raise ValueError where lists and objects are nested too deeply; free for all but odd requests."""
    opened = (
        data.count("[") + data.count("{") if isinstance(data, str) else data.count(b"[") + data.count(b"{")
    )
    if opened <= MAX_JSON_DEPTH:
        return
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [child for item in level for child in children(item)]
        if not level:
            return
    raise ValueError(f"lists and objects are nested more than {MAX_JSON_DEPTH} deep")


def children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def body_fields(data: bytes) -> dict[str, Any]:
    """The parameters of a POST."""
    fields = decoded(data, "The body")
    if isinstance(fields, list):
        raise Refused(400, "The body is a list, but operations can't be batched; send one object a request.")
    if not isinstance(fields, dict):
        raise Refused(400, "The body must be a JSON object with the member `query`.")
    return fields


def query_fields(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a GET, where objects are JSON texts."""
    fields = dict(params)
    for name in ("variables", "extensions"):
        if text := fields.pop(name, ""):
            fields[name] = decoded(text, f"`{name}`")
    return fields


def decoded(data: str | bytes, what: str) -> object:
    try:
        return decode_json(data)
    except json.JSONDecodeError as error:
        raise Refused(400, f"{what} is not valid JSON: {error.msg}.") from None


def field_fault(fields: Mapping[str, Any]) -> str | None:
    """What is wrong with the parameters of an operation, in words; None where nothing is."""
    query = fields.get("query")
    if not isinstance(query, str) or not query.strip():
        return "`query` must be a text with a GraphQL operation."
    if not isinstance(fields.get("operationName"), str | None):
        return "`operationName` must be a text or null."
    for name in ("variables", "extensions"):
        if not isinstance(fields.get(name), dict | None):
            return f"`{name}` must be an object or null."
    return None
