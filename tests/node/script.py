"""A script of this folder, run by Node, and what it says line by line."""

import asyncio
import json
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from web.build import alone, node_environment, set_up

FOLDER = Path(__file__).resolve().parent
COMPLETE = "complete"
WITHIN_SECONDS = 120


class Script:
    """A running script; `said` has each line of its output, as the JSON that it is or as text."""

    def __init__(self, process: Process) -> None:
        self.said: list[Any] = []
        self.complaints = ""
        self._process = process
        self._news = asyncio.Condition()
        self._readers = [asyncio.create_task(self._hear()), asyncio.create_task(self._hear_complaints())]

    async def until(self, met: Callable[[list[Any]], object]) -> None:
        """Wait until what it has said is enough."""
        try:
            async with asyncio.timeout(WITHIN_SECONDS), self._news:
                while not met(self.said):
                    assert not self._readers[0].done(), f"ended: {self.said[-3:]}, {self.complaints}"
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(
                f"not within {WITHIN_SECONDS} s: {self.said[-3:]}, {self.complaints}"
            ) from None

    async def end(self) -> None:
        """Wait until it has ended by itself."""
        async with asyncio.timeout(WITHIN_SECONDS):
            await asyncio.gather(*self._readers)
            await self._process.wait()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self.end()

    async def _hear(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            await self._note(json.loads(line) if line.startswith(b"{") else line.decode().strip())
        await self._note(None)

    async def _note(self, said: Any) -> None:
        async with self._news:
            if said is not None:
                self.said.append(said)
            self._news.notify_all()

    async def _hear_complaints(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.complaints += line.decode()


@asynccontextmanager
async def script(name: str, *arguments: object) -> AsyncIterator[Script]:
    """Start a script, with its packages installed; it does not outlive the block."""
    await asyncio.to_thread(install)
    # A browser has WebSocket; Node 20 has it behind a flag, later ones always.
    flags = ("--no-warnings", "--experimental-websocket")
    process = await asyncio.create_subprocess_exec(
        "node", *flags, str(FOLDER / name), *map(str, arguments),
        stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env={**os.environ, **node_environment()},
    )  # fmt: skip
    running = Script(process)
    try:
        yield running
    finally:
        await running.kill()


@cache
def install() -> None:
    """`make test` has done it already; a pytest that is run by hand may have to."""
    with alone():
        set_up(FOLDER)
