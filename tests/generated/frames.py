"""What a client of WebSockets may say: messages of the protocol in any order, and frames that are none."""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.generated.doors import authorizations, odd_values
from tests.generated.payloads import payloads
from tests.raw import HANDSHAKE

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = b"\x01\x02\x03\x04"
IDS = ["1", "1", "2", "", "x" * 1_000, "x" * 1_001, "\0", "\ud800", "😀", 1, None, [], {}]
TYPES = [
    "subscribe",
    "complete",
    "connection_init",
    "ping",
    "pong",
    "next",
    "error",
    "connection_ack",
    "",
    None,
    1,
]
HANDSHAKE_HEADERS = [
    "Origin: null", "Origin: http://[::1", "Origin: https://evil.example", "Sec-WebSocket-Version: 12",
    "Sec-WebSocket-Key: x", "Sec-WebSocket-Protocol: graphql-ws", "Sec-WebSocket-Protocol: ,",
    "Host: evil.example", "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99",
    "Sec-WebSocket-Extensions: \xff", "Sec-WebSocket-Protocol: \xff", "X: " + "x" * 9_000,
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Talk:
    """All that a client says over one socket. `whole`: its last frame is complete, so that it is answered."""

    handshake: bytes
    frames: tuple[bytes, ...]
    whole: bool

    def __repr__(self) -> str:
        return (
            f"{'' if self.whole else 'half '}{self.handshake!r} {[frame[:2000] for frame in self.frames]!r}"
        )

    @property
    def said(self) -> str:
        """What the server can have read, as text."""
        return self.handshake.decode("latin-1") + "".join(unmasked(frame) for frame in self.frames)


def frame(
    payload: bytes,
    opcode: int = TEXT,
    *,
    final: bool = True,
    reserved: int = 0,
    masked: bool = True,
    claimed: int = -1,
) -> bytes:
    """A frame as the wire has it; `claimed` is a length that it has not."""
    size = len(payload) if claimed < 0 else claimed
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    mask = 0x80 if masked else 0
    if size < 126:
        head += bytes([mask | size])
    elif size < 2**16:
        head += bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + size.to_bytes(8, "big")
    return head + (MASK + xored(payload) if masked else payload)


def xored(payload: bytes) -> bytes:
    mask = (MASK * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(len(payload), "big")


def unmasked(raw: bytes) -> str:
    """The payload of a frame of ours, masked or not."""
    start = {126: 4, 127: 10}.get(raw[1] & 0x7F, 2) if len(raw) > 1 else 0
    masked = len(raw) > 1 and raw[1] & 0x80
    payload = xored(raw[start + 4 :]) if masked else raw[start:]
    return payload.decode("utf-8", "replace")


def message(*, loose: bool = False, **fields: Any) -> bytes:
    return frame(json.dumps(fields, ensure_ascii=not loose).encode("utf-8", "surrogatepass"))


@st.composite
def inits(draw: st.DrawFn) -> bytes:
    """How a client begins: with a token, with something else, or not at all."""
    payload = draw(
        st.one_of(
            st.fixed_dictionaries({"authorization": authorizations()}),
            st.fixed_dictionaries({"Authorization": authorizations()}),
            st.dictionaries(st.sampled_from(["authorization", "headers", "x"]), odd_values(), max_size=2),
            odd_values(),
        )
    )
    shape = draw(st.integers(0, 9))
    return message(type="connection_init") if shape < 3 else message(type="connection_init", payload=payload)


@st.composite
def messages(draw: st.DrawFn, known: list[str]) -> tuple[bytes, ...]:
    """A message, whole or in fragments."""
    loose = draw(st.booleans())
    match draw(st.sampled_from(["subscribe"] * 5 + ["shape", "complete", "odd", "init"])):
        case "subscribe":
            payload = draw(payloads(known))
            made = message(loose=loose, type="subscribe", id=draw(st.sampled_from(IDS[:3])), payload=payload)
        case "shape":
            fields = {"type": draw(st.sampled_from(TYPES)), "id": draw(st.sampled_from(IDS))}
            made = message(loose=loose, **fields, payload=draw(st.one_of(odd_values(), payloads(known))))
        case "complete":
            made = message(type="complete", id=draw(st.sampled_from(IDS)))
        case "odd":
            made = frame(json.dumps(draw(odd_values())).encode())
        case _:
            made = draw(inits())
    text = unmasked(made).encode()
    if draw(st.integers(0, 5)) or not text:
        return (made,)
    at = draw(st.integers(0, len(text)))
    between = (frame(b"x", PING),) if draw(st.booleans()) else ()
    return (frame(text[:at], final=False), *between, frame(text[at:], 0))


@st.composite
def odd_frames(draw: st.DrawFn) -> bytes:
    """Frames that carry no message, many of them forbidden; all are complete."""
    payload = draw(st.binary(max_size=20))
    code = draw(st.sampled_from([0, 999, 1000, 1001, 1004, 1005, 1011, 1015, 3000, 4400, 4999, 5000, 65535]))
    return draw(
        st.sampled_from(
            [
                frame(payload, BINARY),
                frame(payload),
                frame(b"\xff\xfe"),
                frame(b"\xed\xa0\x80"),
                frame(b"", TEXT),
                frame(b"[" * 100_000),
                frame(b'{"type":"ping","payload":{"x":' + b"9" * 6_000 + b"}}"),
                frame(b"x" * 1_100_000),
                frame(payload, PING),
                frame(payload, PONG),
                frame(b"x" * 126, PING),
                frame(payload, PING, final=False),
                frame(b"", CLOSE),
                frame(b"\x03", CLOSE),
                frame(code.to_bytes(2, "big") + b"why", CLOSE),
                frame(b"\x03\xe8\xff\xfe", CLOSE),
                frame(payload, 0),
                frame(payload, final=False),
                frame(payload, 3),
                frame(payload, 11),
                frame(payload, reserved=4),
                frame(payload, reserved=1),
                frame(payload, masked=False),
                message(type="ping", payload={"x": "y" * 70_000}),
            ]
        )
    )


@st.composite
def handshakes(draw: st.DrawFn) -> bytes:
    """Most are right, with a token or without."""
    lines = HANDSHAKE.decode().strip().split("\r\n")
    if (value := draw(authorizations())) is not None:
        lines.append(f"Authorization: {value}")
    if draw(st.integers(0, 9)) == 0:
        lines.append(draw(st.sampled_from(HANDSHAKE_HEADERS)))
    if draw(st.integers(0, 19)) == 0:
        del lines[draw(st.integers(1, len(lines) - 1))]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


@st.composite
def talks(draw: st.DrawFn, known: list[str]) -> Talk:
    """A socket's whole life, as its client wants it."""
    said: list[bytes] = [draw(inits())] if draw(st.integers(0, 9)) else []
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.integers(0, 3)):
            said += draw(messages(known))
        else:
            said.append(draw(odd_frames()))
    whole = draw(st.integers(0, 19)) > 0
    if not whole:
        claimed = draw(st.sampled_from([30, 70_000, 2**20, 2**40, 2**63 - 1, 2**64 - 1]))
        said.append(frame(b"short", claimed=claimed))
    return Talk(draw(handshakes()), tuple(said), whole)


def subscribing(document: str, authorization: str | None) -> Talk:
    """One operation as any client begins it."""
    said = {} if authorization is None else {"authorization": authorization}
    init = message(type="connection_init", payload=said)
    return Talk(HANDSHAKE, (init, message(type="subscribe", id="1", payload={"query": document})), whole=True)
