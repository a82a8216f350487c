"""A GraphQL request as HTTP carries it: bounded, decoded, checked, or refused.

Invariant: whatever a client sends becomes a well-formed request or a `Refused`, which the view answers with
JSON; nothing a client sends is ever a 500.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from gql.errors import ErrorCode
from gql.negotiation import body_fault
from taskql.value import value_class

MAX_DISCARDED_BYTES = 16 * 1024 * 1024
"""So much more of one that is too large is read all the same: many clients hear no answer while they send."""
MAX_JSON_DEPTH = 100
"""Far beyond any sensible variable, far below what recursion can take."""
TOO_DEEP = f"lists and objects are nested more than {MAX_JSON_DEPTH} deep"
MAX_ITEMS = 131_072
"""Of one list: more do not fit into a task's input, whatever they are."""
MAX_CONTAINERS = 20_000
"""Objects and lists in variables. To check one against the schema can take 25 microseconds, and nothing else
runs meanwhile.
"""
MAX_QUERY_STRING_BYTES = 32 * 1024

READABLE = {"Accept-Post": "application/json", "Accept-Encoding": "identity"}

Fields = Mapping[str, Any]
WithText = Callable[[Fields], Fields]
"""Puts the text of a document in place of its id."""


class Refused(Exception):
    """The request can't be carried out; says so to the client, with what to do."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: ErrorCode = ErrorCode.BAD_USER_INPUT,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}


class Request:
    """One over HTTP, as far as we read it: Starlette's own makes a dozen objects of each."""

    __slots__ = ("_first", "_receive", "method", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self._receive = receive
        self._first: dict[bytes, bytes] = dict(reversed(scope["headers"]))

    def header(self, name: bytes) -> str:
        """The first of that name; empty where there is none."""
        return self._first[name].decode("latin-1") if name in self._first else ""

    def headers(self, name: bytes) -> list[str]:
        """All of that name."""
        if name not in self._first:
            return []
        return [sent.decode("latin-1") for each, sent in self.scope["headers"] if each == name]

    @property
    def parameters(self) -> Mapping[str, str]:
        """Those of the address; of two with the same name, the last."""
        return QueryParams(self.scope["query_string"])

    async def body(self, most_bytes: int) -> bytes:
        """One that can't fill the memory, whatever its headers say. Raises Refused, or ClientDisconnect."""
        body = bytearray()
        size, more = 0, True
        while more and size <= most_bytes + MAX_DISCARDED_BYTES:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(chunk)
            if size <= most_bytes:
                body += chunk
        if size > most_bytes:
            raise too_large(most_bytes)
        return bytes(body)


@value_class()
class Operation:
    """What a client asks for, whatever has carried it."""

    query: str
    variables: dict[str, Any] | None = None
    name: str | None = None
    extensions: dict[str, Any] | None = None


async def read_operation(request: Request, most_bytes: int, with_text: WithText) -> Operation:
    """The operation that a request carries. Raises Refused."""
    if request.method == "GET":
        if len(request.scope["query_string"]) > MAX_QUERY_STRING_BYTES:
            raise Refused(
                414, "The address is too long; send the operation by POST.", code=ErrorCode.TOO_LARGE
            )
        return operation_of(with_text(query_fields(request.parameters)))
    if fault := body_fault(request.header(b"content-type"), request.header(b"content-encoding")):
        raise Refused(415, fault, headers=READABLE)
    body = await request.body(most_bytes)
    fields = with_text(body_fields(body))
    operation = operation_of(fields)
    if fault := bulk_fault(fields, body):
        raise Refused(413, fault, code=ErrorCode.TOO_LARGE)
    return operation


def operation_of(fields: Mapping[str, Any]) -> Operation:
    if fault := field_fault(fields):
        raise Refused(400, fault)
    return Operation(
        fields["query"],
        fields.get("variables"),
        fields.get("operationName") or None,
        fields.get("extensions"),
    )


def too_large(most_bytes: int) -> Refused:
    return Refused(413, f"The body is larger than {most_bytes} bytes; send less.", code=ErrorCode.TOO_LARGE)


def decode_json(data: str | bytes) -> object:
    """JSON as the standard has it: UTF-8, no NaN, no bottomless nesting. Raises JSONDecodeError alone."""
    try:
        value: object = STRICT.decode(data if isinstance(data, str) else data.decode())
        check_depth(data, value)
    except json.JSONDecodeError:
        raise
    except NoJson as fault:
        reason = str(fault)
    except UnicodeDecodeError as error:
        reason = f"the byte at {error.start} is not UTF-8"
    except RecursionError:
        reason = TOO_DEEP
    except ValueError:
        reason = "a number has too many digits"
    else:
        return value
    raise json.JSONDecodeError(reason, "", 0)


class NoJson(ValueError):
    """Python reads it, but nobody should have to; the words say what."""


def refuse_constant(name: str) -> NoReturn:
    raise NoJson(f"{name} is not JSON")


STRICT = json.JSONDecoder(parse_constant=refuse_constant)


def opened(data: str | bytes) -> int:
    """How many lists and objects a text has, at the most: some brackets may be in strings."""
    if isinstance(data, str):
        return data.count("[") + data.count("{")
    return data.count(b"[") + data.count(b"{")


def check_depth(data: str | bytes, value: object) -> None:
    """Raise NoJson where lists and objects are nested too deeply; free for all but odd requests."""
    if len(data) <= 2 * MAX_JSON_DEPTH or opened(data) <= MAX_JSON_DEPTH:
        return
    level = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [child for item in level for _, child in named(item)]
        if not level:
            return
    raise NoJson(TOO_DEEP)


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


def bulk_fault(fields: Mapping[str, Any], read_from: str | bytes) -> str | None:
    """Which variable holds more than can be checked against the schema in good time, in words; None for none.

    What the fields were read from says enough about all but odd requests.
    """
    if len(read_from) <= MAX_CONTAINERS:
        return None
    if len(read_from) <= 2 * MAX_ITEMS and opened(read_from) <= MAX_CONTAINERS:
        return None
    found = 0
    level: list[tuple[str, Any]] = [("variables", fields.get("variables"))]
    while level:
        deeper = []
        for path, value in level:
            if isinstance(value, list) and len(value) > MAX_ITEMS:
                return f"`{path}` has {len(value):,} items; the most is {MAX_ITEMS:,}."
            inside = [(name, item) for name, item in named(value) if isinstance(item, dict | list)]
            found += len(inside)
            if found > MAX_CONTAINERS:
                return (
                    f"`{path}` is too much: variables may have {MAX_CONTAINERS:,} objects and lists in all."
                )
            deeper += [(f"{path}.{name}", item) for name, item in inside]
        level = deeper
    return None


def named(value: object) -> Iterable[tuple[object, object]]:
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()
