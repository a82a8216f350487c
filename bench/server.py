"""What is measured: a server with its worker, whoever wrote them, and where its processes may run."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import orjson
import psutil

HERE = Path(__file__).resolve().parent
PROFILES = HERE / "profiles"
SERVER_CORE, CLIENT_CORE = 0, 1


class Server(Protocol):
    """One server process, perhaps a worker, and how its tasks are made and change."""

    name: str
    path: str
    port: int
    pid: int
    watch: str
    """The subscription of one task."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *error: object) -> None: ...
    async def start_worker(self) -> None: ...
    @property
    def pids(self) -> dict[str, int]:
        """Its processes, by what they are."""
        ...

    @property
    def profile(self) -> dict[str, Any]:
        """What the load generator has to know."""
        ...

    async def make_tasks(self, count: int) -> list[str]: ...
    async def publish(self, ids: Iterable[str], terminal: bool = False) -> None:
        """Let Redis tell of a change of each."""
        ...


def filled(profile: str, places: Mapping[str, str]) -> dict[str, Any]:
    """A profile of the load generator with its `<places>` filled in."""
    text = (PROFILES / f"{profile}.json").read_text()
    for name, value in places.items():
        text = text.replace(f"<{name}>", value)
    found: dict[str, Any] = orjson.loads(text)
    return found


def pin(pid: int, core: int) -> None:
    """Keep a process, with the threads that it has and will have, on a core."""
    if (os.cpu_count() or 1) > 1:
        for thread in psutil.Process(pid).threads():
            os.sched_setaffinity(thread.id, {core})
