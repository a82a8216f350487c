"""The connections of one client to one service, used in turn.

Invariants: there are never more than the client may have; one that has been idle for long is not used again,
since the service or a router between may have forgotten it without a word.
"""

import asyncio
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from botocore.httpsession import get_cert_path

from taskql.adapters.aws import CheckedTransport
from taskql.adapters.sqs.connection import Answer, Connection

IDLE_SECONDS = 12
"""As botocore's own connections have it: AWS closes one after 20 s."""

PORTS = {"http": 80, "https": 443}


class Connections:
    """They are opened as they are needed. What goes wrong is an OSError."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        *,
        limit: int,
        connect_seconds: float,
        read_seconds: float,
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._room = asyncio.Semaphore(limit)
        self._all: set[Connection] = set()
        self._idle: list[tuple[Connection, float]] = []

    async def exchange(self, request: bytes) -> Answer:
        """The answer to a request, over a connection that nobody else uses meanwhile."""
        async with self._room:
            connection = self._rested() or await self._opened()
            answer = await connection.exchange(request, self._read_seconds)
        if connection.is_open:
            self._idle.append((connection, time.monotonic()))
        return answer

    def close(self) -> None:
        for connection in [*self._all]:
            connection.close()

    def _rested(self) -> Connection | None:
        """One that is open and was used a short while ago."""
        now = time.monotonic()
        while self._idle:
            connection, since = self._idle.pop()
            if now - since < IDLE_SECONDS and connection.is_open:
                return connection
            connection.close()
        return None

    async def _opened(self) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_seconds):
            _, connection = await loop.create_connection(
                lambda: Connection(self._all.discard), self._host, self._port, ssl=self._tls
            )
        if connection.is_open:
            self._all.add(connection)
        return connection


def connections_like(raw: Any) -> Connections | None:
    """Connections such as botocore's client `raw` makes; None where it makes them as we don't.

    That is through a proxy, with a certificate of the client's own, or without a look at the service's.
    """
    transport, url = raw._endpoint.http_session, urlsplit(raw.meta.endpoint_url)
    if (
        url.scheme not in PORTS
        or not isinstance(transport, CheckedTransport)
        or transport._proxy_config.proxy_url_for(raw.meta.endpoint_url)
        or transport._cert_file
        or not transport._verify
    ):
        return None
    config = raw.meta.config
    return Connections(
        url.hostname or "",
        url.port or PORTS[url.scheme],
        tls_of(transport) if url.scheme == "https" else None,
        limit=config.max_pool_connections,
        connect_seconds=config.connect_timeout,
        read_seconds=config.read_timeout,
    )


def tls_of(transport: Any) -> ssl.SSLContext:
    """botocore's way to speak TLS, with the authorities that it trusts."""
    context: ssl.SSLContext = transport._get_ssl_context()
    context.load_verify_locations(get_cert_path(transport._verify))
    return context
