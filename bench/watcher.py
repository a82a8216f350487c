"""Clients that cost little: a WebSocket with one subscription, and a connection that asks again and again.

The same ones watch every server, so that what they cost is the same for all.
"""

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable
from typing import Any, cast

UNMASKED = b"\0\0\0\0"
"""A client has to mask what it says; with this mask it remains what it is."""
PONG = '{"type":"pong"}'


def frame(text: str | bytes, opcode: int = 1) -> bytes:
    """A whole and final frame."""
    data = text.encode() if isinstance(text, str) else text
    size = len(data)
    head = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + head + UNMASKED + data


class Watcher(asyncio.Protocol):
    """One WebSocket with one subscription; it tells of each of its messages."""

    def __init__(self, path: str, query: str, task_id: str, on_next: Callable[[bytes], None]) -> None:
        self.first = asyncio.get_running_loop().create_future()
        self.done = False
        self.lost = False
        self._path = path
        self._subscribe = json.dumps(
            {"id": "1", "type": "subscribe", "payload": {"query": query, "variables": {"id": task_id}}}
        )
        self._on_next = on_next
        self._buffer = b""
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        if not self.first.done():
            self.first.set_exception(ConnectionError("closed before the first message"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head.split(b"\r\n")[0]:
                self.transport.abort()
                return
            self._open, self._buffer = True, rest
            self.transport.write(frame('{"type":"connection_init"}'))
        self._take_frames()

    def _take_frames(self) -> None:
        buffer = self._buffer
        while len(buffer) >= 2:
            opcode, size, start = buffer[0] & 15, buffer[1] & 127, 2
            if size == 126:
                size, start = int.from_bytes(buffer[2:4], "big"), 4
            if len(buffer) < start + size:
                break
            payload, buffer = buffer[start : start + size], buffer[start + size :]
            if opcode == 9:
                self.transport.write(frame(payload, opcode=10))
            elif opcode == 1:
                self._take(payload)
        self._buffer = buffer

    def _take(self, message: bytes) -> None:
        if b'"next"' in message:
            if not self.first.done():
                self.first.set_result(None)
            self._on_next(message)
        elif b'"ping"' in message:
            self.transport.write(frame(PONG))
        elif b'"connection_ack"' in message:
            self.transport.write(frame(self._subscribe))
        elif b'"complete"' in message:
            self.done = True
        else:
            raise RuntimeError(f"the server said {message[:300]!r}")


class Crowd:
    """Many watchers and when they were told; `reached` waits until so many messages have come."""

    def __init__(self) -> None:
        self.watchers: list[Watcher] = []
        self.times: list[float] = []
        self.messages: list[bytes] | None = None
        """What the messages were, if one wants to know."""
        self._aim = 0
        self._aimed: asyncio.Future[None] | None = None

    def _on_next(self, message: bytes) -> None:
        self.times.append(time.perf_counter())
        if self.messages is not None:
            self.messages.append(message)
        if self._aimed is not None and len(self.times) >= self._aim and not self._aimed.done():
            self._aimed.set_result(None)

    async def reached(self, count: int, seconds: float) -> bool:
        """Whether so many messages have come, in all, by then."""
        if len(self.times) >= count:
            return True
        self._aim, self._aimed = count, asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(self._aimed, seconds)
        except TimeoutError:
            return False
        finally:
            self._aimed = None
        return True

    async def join(
        self, port: int, path: str, query: str, ids: list[str], at_once: int, seconds: float
    ) -> int:
        """One more watcher for each id, `at_once` being on their way; how many were told in time."""
        loop = asyncio.get_running_loop()
        gate = asyncio.Semaphore(at_once)

        async def one(task_id: str) -> None:
            async with gate:
                make = lambda: Watcher(path, query, task_id, self._on_next)  # noqa: E731
                _, watcher = await loop.create_connection(make, "127.0.0.1", port)
                self.watchers.append(watcher)
                await watcher.first

        joining = [asyncio.create_task(one(task_id)) for task_id in ids]
        await asyncio.wait(joining, timeout=seconds)
        stuck = [each for each in joining if not each.done()]
        for each in stuck:
            each.cancel()
        ended = await asyncio.gather(*joining, return_exceptions=True)
        return sum(answer is None for answer in ended)

    async def completed(self, seconds: float) -> int:
        """How many have been told that it is over; waits until all have, or until then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not all(each.done for each in self.watchers):
            await asyncio.sleep(0.05)
        return sum(each.done for each in self.watchers)

    def leave(self) -> None:
        for watcher in self.watchers:
            watcher.transport.abort()


class Poller:
    """One keep-alive connection that posts GraphQL, a request after another."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self._path = port, path

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def ask(self, query: str, **variables: Any) -> bytes:
        body = json.dumps({"query": query, "variables": variables}).encode()
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Accept: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        size = int(answer.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        return await self._reader.readexactly(size)

    def close(self) -> None:
        self._writer.close()
