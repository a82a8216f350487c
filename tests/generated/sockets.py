"""A client's talk over a WebSocket, and what the server says to it, to the end."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tests.generated.answers import Finding, check_errors, check_json, check_result, check_text, documented
from tests.generated.doors import Door
from tests.generated.frames import BINARY, CLOSE, TEXT, Talk, message
from tests.generated.http import (
    PATIENCE_SECONDS,
    QUIET_SECONDS,
    RECEIVE_BYTES,
    Request,
    check_answer,
    receive,
)

LAST = "the last one"
UNKNOWN = "00000000-0000-7000-8000-000000000000"
LAST_WORD = message(
    type="subscribe",
    id=LAST,
    payload={"query": f'mutation {{ cancelTask(input: {{id: "{UNKNOWN}"}}) {{ userErrors {{ code }} }} }}'},
)
"""Whatever becomes of it, all that was said before has been read by then; it asks PostgreSQL too."""
PROTOCOLS_OWN = {"1000", "1002", "1007", "1009"}
"""Close codes of WebSockets themselves, for frames that are against the rules."""


@dataclass(slots=True)
class Heard:
    """What the server said, frame by frame."""

    messages: list[str] = field(default_factory=list)
    close: bytes | None = None
    refused: bool = False


def talk(door: Door, talk: Talk) -> Heard:
    """Say it all, then listen until the server has taken it, or has closed."""
    with socket.create_connection(("127.0.0.1", door.port), PATIENCE_SECONDS) as client:
        heard = Heard()
        stream = ServerStream(client)
        client.sendall(talk.handshake)
        head = stream.until(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            refused(client, talk, head + stream.rest)
            heard.refused = True
            return heard
        with suppress(OSError):  # closed before its end: the close frame says why
            client.sendall(b"".join(talk.frames) + LAST_WORD)
        if not talk.whole:
            client.settimeout(QUIET_SECONDS)
        listen(stream, talk, heard)
        return heard


def listen(stream: "ServerStream", talk: Talk, heard: Heard) -> None:
    try:
        for opcode, payload in stream.frames():
            if opcode == CLOSE:
                heard.close = payload
                return
            if opcode == BINARY:
                raise Finding(f"a binary frame: {payload[:200]!r}")
            if opcode == TEXT:
                heard.messages.append(payload.decode())
                if f'"id":"{LAST}"' in heard.messages[-1] and '"type":"next"' not in heard.messages[-1]:
                    return
    except TimeoutError:
        if talk.whole:
            raise Finding("is never answered") from None
    except ConnectionError:
        pass  # we still said something when it had closed
    else:
        if talk.whole:
            raise Finding(f"ends without a close frame, after {heard.messages[-3:]}")


def refused(client: socket.socket, talk: Talk, begun: bytes) -> None:
    """A handshake that failed is answered as any request over HTTP."""
    request = Request("GET", talk.handshake)
    if answer := receive(client, request, begun):
        check_answer(request, answer)


class ServerStream:
    """What the server sends, cut into its frames."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self.rest = b""

    def until(self, end: bytes) -> bytes:
        while end not in self.rest:
            if not (more := self._client.recv(RECEIVE_BYTES)):
                raise Finding(f"a handshake ends after {self.rest[:200]!r}")
            self.rest += more
        found, _, self.rest = self.rest.partition(end)
        return found + end

    def frames(self) -> Iterator[tuple[int, bytes]]:
        while True:
            while (cut := server_frame(self.rest)) is None:
                if not (more := self._client.recv(RECEIVE_BYTES)):
                    return
                self.rest += more
            opcode, payload, self.rest = cut
            yield opcode, payload


def server_frame(data: bytes) -> tuple[int, bytes, bytes] | None:
    """The first frame's opcode and payload, and what follows it; None until all of it is there."""
    if len(data) < 2:
        return None
    size, start = data[1], 2
    if size >= 126:
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        return None
    return data[0] & 0x0F, data[start : start + size], data[start + size :]


def check_heard(talk: Talk, heard: Heard) -> None:
    """Raise Finding unless a server may say this to that."""
    for text in heard.messages:
        check_message(check_json(text, talk.said), talk)
    if heard.close:
        code = str(int.from_bytes(heard.close[:2], "big"))
        reason = heard.close[2:].decode()
        check_text(reason, talk.said)
        said_so = any(unmasked.startswith(int(code).to_bytes(2, "big")) for unmasked in closes(talk))
        if code not in documented()["Close codes of WebSockets"] | PROTOCOLS_OWN and not said_so:
            raise Finding(f"closed with {code}: {reason}")


def closes(talk: Talk) -> Iterator[bytes]:
    """What its close frames say, as sent: the server repeats the code."""
    for raw in talk.frames:
        if raw[0] & 0x0F == CLOSE:
            yield bytes(byte ^ mask for byte, mask in zip(raw[6:], (1, 2, 3, 4) * 32, strict=False))


def check_message(said: Any, talk: Talk) -> None:
    if not isinstance(said, dict):
        raise Finding(f"no message: {str(said)[:300]}")
    match said.get("type"):
        case "connection_ack" | "ping" | "pong" | "complete":
            if "payload" in said:
                raise Finding(f"a payload that nobody wants: {str(said)[:300]}")
        case "next":
            check_result(said.get("payload"))
        case "error":
            check_errors(said.get("payload"))
        case _:
            raise Finding(f"no message of the protocol: {str(said)[:300]}")
    if said["type"] in ("next", "error", "complete") and not is_known(said.get("id"), talk):
        raise Finding(f"an operation that nobody began: {str(said)[:300]}")


def is_known(id: object, talk: Talk) -> bool:
    """Whether the client has said it, escaped or not."""
    return isinstance(id, str) and (id == LAST or id in talk.said or json.dumps(id)[1:-1] in talk.said)
