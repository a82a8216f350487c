"""What else goes on: CPU time of processes, and what others use of the machine meanwhile."""

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

QUIET_CORES = 0.12
LOOK_SECONDS = 0.7


def cpu_of(pid: int) -> float:
    """CPU seconds of a process, of its children, and of those that it has reaped."""
    used = 0.0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                used += sum(each.cpu_times()[:4])
    return used


def memory_of(pid: int) -> int:
    """Bytes of a process and its children; what several share counts once, and so do their buffers."""
    process = psutil.Process(pid)
    return sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True)))


class CpuMeter:
    """Within a block: its seconds, the CPU seconds that each of these processes `used`, and their total."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids

    def __enter__(self) -> Self:
        self._began, self._before = time.perf_counter(), self._now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.used = {name: cpu - self._before[name] for name, cpu in self._now().items()}
        self.seconds, self.total = time.perf_counter() - self._began, sum(self.used.values())

    def _now(self) -> dict[str, float]:
        return {name: cpu_of(pid) for name, pid in self._pids.items()}


class Foreign:
    """How many cores others use within a block: what the machine does, less this process and its children."""

    def __enter__(self) -> Self:
        self._began, self._others = time.monotonic(), busy_seconds() - cpu_of(os.getpid())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        others = busy_seconds() - cpu_of(os.getpid()) - self._others
        self.cores = max(0.0, others / max(time.monotonic() - self._began, 0.01))


def busy_seconds() -> float:
    """CPU seconds of the whole machine since it started."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return (sum(ticks[:3]) + sum(ticks[5:8])) / os.sysconf("SC_CLK_TCK")


async def wait_for_quiet(seconds: float) -> None:
    """Wait, no longer than this, until others leave the machine alone."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with Foreign() as foreign:
            await asyncio.sleep(LOOK_SECONDS)
        if foreign.cores < QUIET_CORES:
            return
