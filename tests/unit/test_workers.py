"""WORKERS, over processes that end when the test says."""

import asyncio
import socket
from datetime import timedelta
from typing import Any

import pytest

from gql import workers
from gql.workers import keep
from taskql.errors import StartupError


class Process:
    """Has ended already."""

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode

    async def wait(self) -> int:
        return self.returncode


class Machine:
    """Starts processes that end at once, with these codes; those with a long life end after START."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *lives: tuple[int, bool]) -> None:
        self._monkeypatch = monkeypatch
        self._lives = list(lives)
        self.stopping = asyncio.Event()
        monkeypatch.setattr(workers, "REST", timedelta(0))
        monkeypatch.setattr(asyncio, "create_subprocess_exec", self._start)

    async def _start(self, *_: Any, **__: Any) -> Process:
        code, is_long = self._lives.pop(0)
        self._monkeypatch.setattr(workers, "START", timedelta(0 if is_long else 60))
        if not self._lives:
            self.stopping.set()
        return Process(code)

    async def keep(self) -> int:
        """Until the last of them has ended; how many were not started."""
        with socket.socket() as listener:
            await keep(listener, self.stopping)
        return len(self._lives)


async def test_a_worker_that_comes_back_during_an_outage_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that run survive the outage: one that can't start meanwhile must not end them."""
    assert await Machine(monkeypatch, (-9, True), (1, False), (1, False), (0, False)).keep() == 0


async def test_a_worker_that_never_could_start_ends_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, (-9, False), (1, False), (0, False))
    with pytest.raises(StartupError):
        await machine.keep()
    assert machine.stopping.is_set()
