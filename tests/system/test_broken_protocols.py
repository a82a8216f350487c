"""What breaks the rules of HTTP or WebSockets is told so, by JSON or a close code: no error of ours."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deployment import Deployment
from tests.generated.frames import CLOSE, frame
from tests.generated.sockets import ServerStream
from tests.raw import ACKNOWLEDGED, END_OF_HEAD, HANDSHAKE, INIT, TIMEOUT_SECONDS, read_until

GET = b"GET /graphql?query=%7Bkinds%7Bname%7D%7D HTTP/1.1\r\nHost: localhost\r\n\r\n"
RUBBISH = b"\0\1\2 rubbish\r\n\r\n"


@pytest.fixture
def client(api: Deployment) -> Iterator[socket.socket]:
    """A connection; what is sent over it leaves no error in the log."""
    process = next(process for process in api.processes if process.module == "gql")
    before = len(process.said)
    with socket.create_connection(("127.0.0.1", api.port), TIMEOUT_SECONDS) as client:
        yield client
    with socket.create_connection(("127.0.0.1", api.port), TIMEOUT_SECONDS) as other:
        other.sendall(GET)
        read_until(other, END_OF_HEAD)
    said = process.said[before:]
    assert " ERROR " not in said
    assert "Traceback" not in said


def all_of(client: socket.socket) -> bytes:
    """What comes until the server closes."""
    read = b""
    while more := client.recv(65_536):
        read += more
    return read


def refusal(client: socket.socket) -> tuple[int, str]:
    """The status and the code of an answer that ends its connection."""
    head, _, body = all_of(client).partition(END_OF_HEAD)
    error: Any = json.loads(body)["errors"][0]
    assert error["message"]
    assert b"application/json" in head
    return int(head.split()[1]), error["extensions"]["code"]


def test_rubbish_behind_a_request_ends_the_connection_without_a_second_answer_in_between(
    client: socket.socket,
) -> None:
    client.sendall(GET + RUBBISH)

    assert all_of(client).count(b"HTTP/1.1 ") <= 1


def test_body_that_breaks_off_its_framing_is_refused(client: socket.socket) -> None:
    client.sendall(
        b"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    )

    assert refusal(client) == (400, "BAD_USER_INPUT")


@pytest.mark.parametrize(
    ("handshake", "expected"),
    [
        (HANDSHAKE.replace(b"Sec-WebSocket-Version: 13\r\n", b""), (400, "BAD_USER_INPUT")),
        (HANDSHAKE.replace(b"Version: 13", b"Version: 12"), (400, "BAD_USER_INPUT")),
        (HANDSHAKE.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 9_000 + b"\r\n\r\n"), (431, "TOO_LARGE")),
        (HANDSHAKE.replace(b"\r\n\r\n", b"\r\nOrigin: https://evil.example\r\n\r\n"), (403, "FORBIDDEN")),
    ],
)
def test_handshake_that_fails_is_answered_in_json(
    client: socket.socket, handshake: bytes, expected: tuple[int, str]
) -> None:
    client.sendall(handshake)

    assert refusal(client) == expected


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (frame(b"\xff\xfe"), 1007),
        (frame(b"\xff\xfe") + frame(b"\xff\xfe"), 1007),
        (frame(b"\xff\xfe") + frame((1000).to_bytes(2, "big"), CLOSE), 1000),
        (frame(b'{"type":"ping"}') + frame(b"", 3), 1002),
        (frame(b'{"type":"nothing"}') + frame(b"", 3), 1002),
        (frame(b"x", masked=False), 1002),
    ],
)
def test_frame_against_the_rules_closes_the_socket(client: socket.socket, frames: bytes, code: int) -> None:
    client.sendall(HANDSHAKE)
    read_until(client, END_OF_HEAD)
    client.sendall(INIT)
    read_until(client, ACKNOWLEDGED)

    client.sendall(frames)

    heard = dict(ServerStream(client).frames())
    assert int.from_bytes(heard[CLOSE][:2], "big") == code
