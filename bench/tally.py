"""A proxy before the SQS emulator that counts requests by what they ask for: on AWS, each costs money."""

import asyncio
import re
from collections import Counter
from contextlib import suppress
from typing import Self

ACTION = re.compile(rb"x-amz-target: *AmazonSQS\.(\w+)", re.IGNORECASE)
CHUNK_BYTES = 65_536


class Tally:
    """Listens while in its block; `counted` has a number for each action."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self.counted: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._here = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()

    def stands_for(self, url: str) -> str:
        """The same address, through the proxy."""
        return url.replace(self._upstream, self._here)

    def instead_of(self, url: str) -> str:
        return url.replace(self._here, self._upstream)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._upstream.partition(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        with suppress(ConnectionError):
            await asyncio.gather(
                self._pass_on(reader, up_writer, count=True), self._pass_on(up_reader, writer, count=False)
            )

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, count: bool) -> None:
        """A client sends the head of a request in one piece."""
        with suppress(ConnectionError):
            while data := await source.read(CHUNK_BYTES):
                if count:
                    self.counted.update(action.decode() for action in ACTION.findall(data))
                target.write(data)
                await target.drain()
        target.close()
