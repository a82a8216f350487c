"""One process of ours under the supervisor: the API, or a consumer.

Invariant: it is in a session of its own, so that a terminal's Ctrl-C is for the supervisor alone, and the
kernel ends it when the supervisor ends, however that happens.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from taskql.devstack import family

LAUNCHER = Path(__file__).with_name("child.py")
LAST_LINES = 15
CHUNK_BYTES = 65_536
LATE_OUTPUT_SECONDS = 0.5


class ProcessError(Exception):
    """A process can't be kept running. The message tells how it ended, and what it said last."""


class Process:
    """`python -m MODULE`, started again and again under one name."""

    def __init__(
        self, name: str, module: str, env: Mapping[str, str], pass_on: Callable[[str, str], None]
    ) -> None:
        self.name = name
        self._module = module
        self._env = {**env, "PYTHONUNBUFFERED": "1"}
        self._pass_on = pass_on
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._current: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        # A pipe of our own: asyncio's would have `wait` wait for grandchildren that hold it open.
        read_end, write_end = os.pipe()
        self._last_lines.clear()
        self._reading = asyncio.create_task(self._read(read_end))
        launcher = [
            sys.executable,
            "-I",
            "-S",
            str(LAUNCHER),
            str(os.getpid()),
            str(int(signal.SIGKILL)),
            "same",
        ]
        try:
            self._current = await asyncio.create_subprocess_exec(
                *launcher,
                *(sys.executable, "-m", self._module),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                env=self._env,
                start_new_session=True,
            )
        finally:
            os.close(write_end)

    @property
    def running(self) -> bool:
        return self._current is not None and self._current.returncode is None

    async def ended(self) -> None:
        """Wait for its end, and for what it still had to say."""
        assert self._current is not None
        assert self._reading is not None
        await self._current.wait()
        await asyncio.wait([self._reading], timeout=LATE_OUTPUT_SECONDS)

    def ask_to_stop(self) -> None:
        if self.running and self._current is not None:
            self._current.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """It and what it has started, at once."""
        if self.running and self._current is not None:
            family.kill(self._current.pid)

    def account(self) -> str:
        """How it ended, with its last lines."""
        code = self._current.returncode if self._current is not None else None
        how = (
            f"was killed by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"ended with exit code {code}"
        )
        if not self._last_lines:
            return f"{self.name} {how}, saying nothing"
        return "\n".join(
            [f"{self.name} {how}. Its last lines:", *(f"    {line}" for line in self._last_lines)]
        )

    async def _read(self, descriptor: int) -> None:
        reader = asyncio.StreamReader()
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        with contextlib.closing(transport):
            async for line in lines(reader):
                self._last_lines.append(line)
                self._pass_on(self.name, line)


async def lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    """Whole lines; one without an end is cut rather than kept in memory."""
    pending = b""
    while chunk := await reader.read(CHUNK_BYTES):
        *whole, pending = (pending + chunk).split(b"\n")
        if len(pending) > CHUNK_BYTES:
            whole, pending = [*whole, pending], b""
        for line in whole:
            yield line.decode(errors="replace").rstrip("\r")
    if pending:
        yield pending.decode(errors="replace")
