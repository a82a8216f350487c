"""Which pages may use the API from a browser: our own, those of this machine on it, and those that are named.

Invariant: a page that is not named reads no answer and opens no socket; where none is named, HTTP does not
pay.
"""

import logging
from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from strawberry.http.websocket_origin import is_same_origin, normalize_origin

from gql.answers import Answer
from gql.errors import ErrorCode
from gql.negotiation import MediaType

logger = logging.getLogger(__name__)

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
ANY = "*"
PREFLIGHT_SECONDS = 7200
"""So long a browser may remember what it may send; none keeps it for longer."""
SENT_HEADERS = ("Authorization", "Content-Type", "Traceparent", "Tracestate", "X-Request-Id")
SHOWN_HEADERS = ("RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Request-Id")


class Origins:
    """The origins that are named, and the check of a WebSocket's handshake, for which browsers ask nobody.

    `here_only` is for an API without authentication: then it answers to this machine's own names alone.
    """

    def __init__(self, named: Collection[str] = (), *, here_only: bool = False) -> None:
        self._named = frozenset(named)
        self._here_only = here_only

    def welcome(self, handshake: Headers) -> bool:
        """Whether whoever opens a socket is no page, or one that may."""
        origin = handshake.get("origin")
        if origin is None or handshake.get("sec-fetch-site") == "same-origin":
            return True
        welcome = self._may_call(origin, handshake.get("host", ""))
        if not welcome:
            logger.warning("Refused a socket to a page of %.100r; TASKQL_CORS_ORIGINS names who may.", origin)
        return welcome

    def _may_call(self, origin: str, host: str) -> bool:
        return (
            is_same_origin(origin, host)
            or ANY in self._named
            or normalize_origin(origin) in self._named
            or (is_loopback(origin) and is_loopback(f"//{host}"))
        )

    def shared(self, app: ASGIApp) -> ASGIApp:
        """The app as pages of named origins may call it. No cookie counts here, so none is let through."""
        if self._named:
            app = CORSMiddleware(
                app,
                allow_origins=sorted(self._named),
                allow_methods=("GET", "POST"),
                allow_headers=SENT_HEADERS,
                expose_headers=SHOWN_HEADERS,
                max_age=PREFLIGHT_SECONDS,
            )
        return HereOnly(app) if self._here_only else app


class HereOnly:
    """Refuses requests that were sent to a name which is not this machine's own.

    A page elsewhere can have its own name lead here, and would then be a page of ours to the browser.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if all(is_own_name(value) for name, value in scope["headers"] if name == b"host"):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})  # before accepting: the server answers with 403
        else:
            error = {"message": ELSEWHERE, "extensions": {"code": ErrorCode.BAD_USER_INPUT.value}}
            await Answer({"errors": [error]}, MediaType.JSON, 421)(scope, receive, send)


ELSEWHERE = (
    "AUTH=none: this API answers to localhost and to addresses in numbers, and to other names only with "
    "TASKQL_ALLOW_UNAUTHENTICATED=on."
)


@lru_cache(64)
def is_own_name(host: bytes) -> bool:
    """Whether nobody else can have a page at this host: a name is anybody's to give, an address is not."""
    try:
        name = urlsplit(f"//{host.decode()}").hostname or ""
        return name == "localhost" or name.endswith(".localhost") or bool(ip_address(name))
    except ValueError:
        return False


def is_loopback(url: str) -> bool:
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False
