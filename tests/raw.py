"""Clients spoken byte by byte, so that a test may fall silent or hang up anywhere."""

import json
import socket
from typing import Any

from tests.deployment import Deployment

HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)
END_OF_HEAD = b"\r\n\r\n"
ACKNOWLEDGED = b'"connection_ack"}'
SMALL_BUFFER_BYTES = 4096
TIMEOUT_SECONDS = 60
UNMASKED = b"\0\0\0\0"
"""A client has to mask what it says; with this mask it remains what it is."""


def frame(**message: Any) -> bytes:
    """A text frame, whole and final."""
    payload = json.dumps(message).encode()
    return b"\x81" + bytes([0x80 | 126]) + len(payload).to_bytes(2, "big") + UNMASKED + payload


INIT = frame(type="connection_init")


def subscribe(query: str, **variables: Any) -> bytes:
    return frame(id="1", type="subscribe", payload={"query": query, "variables": variables})


def stream(query: str, **variables: Any) -> bytes:
    """The request for an event stream."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    head = (
        "POST /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Accept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def stuck_socket(deployment: Deployment, query: str, **variables: Any) -> socket.socket:
    """A subscription whose client reads the acknowledgement and no more, with little room for the rest."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    client.settimeout(TIMEOUT_SECONDS)
    client.connect(("127.0.0.1", deployment.port))
    client.sendall(HANDSHAKE)
    read_until(client, END_OF_HEAD)
    client.sendall(INIT)
    read_until(client, ACKNOWLEDGED)
    client.sendall(subscribe(query, **variables))
    return client


def stuck_stream(deployment: Deployment, query: str, **variables: Any) -> socket.socket:
    """The same over server-sent events."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
    client.settimeout(TIMEOUT_SECONDS)
    client.connect(("127.0.0.1", deployment.port))
    client.sendall(stream(query, **variables))
    return client


def read_until(client: socket.socket, end: bytes) -> None:
    """Byte by byte: not one more is taken out of the socket."""
    read = b""
    while not read.endswith(end):
        byte = client.recv(1)
        assert byte, f"ended after {read!r}"
        read += byte
