"""Requests over HTTP, byte by byte: heads and bodies as they should be, and as they should not."""

from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st

from tests.generated.doors import as_json, authorizations
from tests.generated.http import Request
from tests.generated.payloads import bodies, payloads

Header = tuple[str, str]

PATHS = ["/graphql"] * 40 + [
    "/", "/graphql/", "//graphql", "/graphql%00", "/GRAPHQL", "/healthz", "/readyz", "/assets/x.js",
    "/assets/..%2f..%2fpyproject.toml", "/assets/%00.js", "/%ff%fe", "/nothing", "*", "http://localhost/graphql",
    "http://[::1/graphql", "/graphql#x", "/" + "a" * 9_000, "/assets/" + "a" * 300 + ".js", "/assets/\xe4.js",
]  # fmt: skip
METHODS = (
    ["POST"] * 8
    + ["GET"] * 4
    + ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "FOO"]
)
ACCEPTS = [
    "*/*", "application/json", "application/graphql-response+json", "text/event-stream", "text/html",
    "image/png", "", "application/json;q=0, text/event-stream;q=0.5", "application/json;q=nan",
    "text/event-stream;q=1e999", ";;,,=",
]  # fmt: skip
TYPES = [
    "application/json", "application/json", "application/json", "APPLICATION/JSON; Charset=\"UTF-8\"",
    "text/plain", "", "application/json; charset=utf-16", "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded", "\xff",
]  # fmt: skip
ODD_HEADERS: list[Header] = [
    ("Host", "localhost"), ("Host", "evil.example"), ("Host", "[::1"), ("Host", "\xff"), ("hOsT", ""),
    ("Origin", "null"), ("Origin", "https://evil.example"), ("Origin", "http://[::1"), ("Origin", "\xff"),
    ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "x"),
    ("Sec-Fetch-Site", "x"), ("Expect", "100-continue"), ("Expect", "200-ok"), ("Content-Encoding", "gzip"),
    ("Content-Encoding", "\xff"), ("Cookie", "a=b;" * 50), ("Range", "bytes=0-1,5-"),
    ("If-None-Match", "*"), ("If-Modified-Since", "never"), ("Connection", "close"),
    ("Connection", "keep-alive, x"), ("Upgrade", "h2c"), ("X-Forwarded-For", "1.1.1.1, \xff"),
    ("X-Forwarded-Proto", "javascript"), ("traceparent", "00-" + "0" * 32 + "-" + "0" * 16 + "-00"),
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("traceparent", "\xff" * 55), ("tracestate", "a=" + "b" * 600), ("X-Request-Id", "x\ty" * 99),
    ("X-Huge", "x" * 20_000), ("X-Empty", ""),
]  # fmt: skip
FRAMING = {"content-length", "transfer-encoding", "connection", "upgrade", "expect", "host"}


def headers() -> st.SearchStrategy[list[Header]]:
    """Odd ones and random ones, some of them more than once; none of them says where the request ends."""
    names = st.text("abcXYZ-_019!#", min_size=1, max_size=12).filter(lambda name: name.lower() not in FRAMING)
    values = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=40)
    return st.lists(st.one_of(st.sampled_from(ODD_HEADERS), st.tuples(names, values)), max_size=4)


def written(method: str, path: str, said: list[Header], body: bytes, *, whole: bool = True) -> Request:
    """A request of its parts. Whatever was said, a Host comes first, as it must."""
    if not any(name.lower() == "host" for name, _ in said):
        said = [("Host", "localhost"), *said]
    head = "".join(
        [f"{method} {path} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in said), "\r\n"]
    )
    return Request(method, head.encode("latin-1", "replace") + body, whole)


def posted(payload: Any, accept: str, authorization: str | None) -> Request:
    """An operation as any client sends it."""
    body = as_json(payload)
    said = [("Content-Type", "application/json"), ("Accept", accept), ("Content-Length", str(len(body)))]
    if authorization is not None:
        said.append(("Authorization", authorization))
    return written("POST", "/graphql", said, body)


@st.composite
def raw(draw: st.DrawFn, known: list[str]) -> Request:
    """Any method, path and headers around any body, which ends where it says, or not."""
    method = draw(st.sampled_from(METHODS))
    body = draw(bodies(known)) if method not in ("GET", "HEAD") or draw(st.booleans()) else b""
    said = [
        *draw(headers()),
        ("Content-Type", draw(st.sampled_from(TYPES))),
        (draw(st.sampled_from(["Accept", "accept", "ACCEPT"])), draw(st.sampled_from(ACCEPTS))),
    ]
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2]))):
        if (value := draw(authorizations())) is not None:
            said.append(("Authorization", value))
    framing, body, whole = draw(framed(body))
    path = draw(st.sampled_from(PATHS))
    if draw(st.integers(0, 9)) == 0:
        path += "?" + draw(query_strings(known))
    return written(method, path, draw(st.permutations(said + framing)), body, whole=whole)


@st.composite
def framed(draw: st.DrawFn, body: bytes) -> tuple[list[Header], bytes, bool]:
    """How a body is framed: the headers, the bytes, whether all that is announced is there."""
    length = ("Content-Length", str(len(body)))
    chunked = ("Transfer-Encoding", "chunked")
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part)
    ways: list[tuple[list[Header], bytes, bool]] = [
        ([length], body, True),
        ([length], body, True),
        ([length], body, True),
        ([chunked], chunks + b"0\r\n\r\n", True),
        ([chunked], chunks + b"0\r\nX-Trailer: x\r\n\r\n", True),
        ([chunked], chunks, False),
        ([chunked], b"zz\r\n" + body, False),
        ([chunked, length], body, False),
        ([length, length], body, False),
        ([("Content-Length", str(len(body) + 9))], body, False),
        ([("Content-Length", str(half))], body, False),
        ([("Content-Length", "-1")], body, False),
        ([("Content-Length", "9" * 30)], body, False),
        ([("Content-Length", "0x10")], body, False),
        ([("Transfer-Encoding", "gzip, chunked")], body, False),
        ([], body, False),
    ]
    return draw(st.sampled_from(ways))


@st.composite
def query_strings(draw: st.DrawFn, known: list[str]) -> str:
    """The parameters of a GET, of the right form or another, once or more."""
    payload = draw(payloads(known))
    if not isinstance(payload, dict):
        return quote(as_json(payload))
    pairs = [(name, value if isinstance(value, str) else as_json(value)) for name, value in payload.items()]
    pairs = draw(st.permutations(pairs))
    if draw(st.integers(0, 3)) == 0:
        pairs += draw(st.lists(st.sampled_from(pairs or [("query", "{kinds{name}}")]), max_size=2))
    text = urlencode([(_bytes(name), _bytes(value)) for name, value in pairs])
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at] + draw(st.sampled_from(["%", "%ff", "&&", "=", "+", ";", "%u0041", "\xe9"])) + text[at:]
        )
    return text


def _bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


@st.composite
def gets(draw: st.DrawFn, known: list[str]) -> Request:
    """Queries, and what is none, in the address."""
    said = [("Accept", draw(st.sampled_from(ACCEPTS)))]
    if (value := draw(authorizations())) is not None:
        said.append(("Authorization", value))
    return written("GET", f"/graphql?{draw(query_strings(known))}", said, b"")
