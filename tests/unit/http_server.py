"""An HTTP server on this machine that does with each connection what a test wants."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LONGEST_WAIT_SECONDS = 60


@dataclass
class Server:
    port: int = 0
    connections: int = 0
    ended: list[asyncio.Event] = field(default_factory=list)
    """For each connection, set once the client has closed it, or we have."""

    async def until_ended(self, number: int) -> None:
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            await self.ended[number].wait()


@asynccontextmanager
async def served(*talks: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """The first talk deals with the first connection, and so on; the last one with all that follow."""
    server = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = talks[min(server.connections, len(talks) - 1)]
        server.connections += 1
        server.ended.append(ended := asyncio.Event())
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            ended.set()
            writer.transport.abort()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


async def request_from(reader: asyncio.StreamReader) -> bytes:
    """One request, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    return head + await reader.readexactly(int(length[1]) if length else 0)


def answer(content: bytes, status: str = "200 OK", *headers: str) -> bytes:
    head = (f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *headers)
    return "".join(f"{line}\r\n" for line in head).encode() + b"\r\n" + content


def answering(*answers: bytes) -> Talk:
    """Answers so many requests, and closes the connection with the next one that comes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for each in answers:
            await request_from(reader)
            writer.write(each)
        await request_from(reader)

    return talk


async def echoing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with its body."""
    while True:
        writer.write(answer((await request_from(reader)).partition(b"\r\n\r\n")[2]))
