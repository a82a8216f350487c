"""Figures of several runs, and the page that shows them."""

import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

NOTE_CHARS = 400
TARGETS = {
    "fan-out: CPU per subscriber and event": "at most 20 us",
    "memory per idle subscription": "at most 30 KiB",
    "storm: stuck": "0",
    "storm: terminal events missed": "0",
    "commit to client, p99": "under 50 ms",
}


class Results:
    """Every figure of every run."""

    def __init__(self, changed: Callable[[], object] = lambda: None) -> None:
        """`changed` is called whenever there may be something to show."""
        self._changed = changed
        self.figures: dict[str, dict[str, list[float]]] = {}
        self.units: dict[str, str] = {}
        self.notes: list[str] = []
        self.failed: set[tuple[str, str]] = set()
        """What could not be taken, and of whom."""
        self._busy = [os.getloadavg()[0]]

    def add(self, figure: str, server: str, value: float, unit: str) -> None:
        self.figures.setdefault(figure, {}).setdefault(server, []).append(value)
        self.units[figure] = unit
        self._busy.append(os.getloadavg()[0])
        print(f"{figure} | {server} | {number_of(value)} {unit}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def surviving(self, what: str, *cells: tuple[str, str]) -> Iterator[None]:
        """What fails in the block is noted, and measuring goes on; these have `failed` then."""
        try:
            yield
        except Exception as error:
            self.failed.update(cells)
            told = " ".join((str(error) or repr(error)).split())
            self.note(f"{what} failed: {told[-NOTE_CHARS:]}")
        finally:
            self._changed()

    def median(self, figure: str, server: str) -> float | None:
        values = self.figures.get(figure, {}).get(server)
        return median(values) if values else None

    def markdown(self, watchers: int, repeats: int) -> str:
        lines = [
            "# Live status, measured",
            "",
            f"{datetime.now(UTC):%d %B %Y}, {machine()}. {watchers:,} watchers of one task; {repeats} runs "
            "of each server in turn: the median, the lowest and highest in brackets, and how many times "
            f"TaskQL's it is. Load of the machine {min(self._busy):.1f} to {max(self._busy):.1f}: above 3 "
            "others were at work, and only the ratios and the CPU figures say something.",
            "",
            "| figure | target | server | median (range) | times TaskQL's |",
            "|---|---|---|---:|---:|",
        ]
        for figure, servers in self.figures.items():
            ours = median(next(iter(servers.values())))
            for number, (server, values) in enumerate(servers.items()):
                shown = f"{number_of(median(values))} {self.units[figure]}".strip()
                span = f"({number_of(min(values))}–{number_of(max(values))})"
                ratio = f"{median(values) / ours:.2g}" if number and ours else ""
                first = (figure, TARGETS.get(figure, "")) if number == 0 else ("", "")
                lines.append(f"| {first[0]} | {first[1]} | {server} | {shown} {span} | {ratio} |")
        lines += ["", *(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n".join(lines) + "\n"


def number_of(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def machine() -> str:
    models = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    processor = f"{os.cpu_count()} cores of {models[0] if models else platform.machine()}"
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    return f"{processor}, {gigabytes:.0f} GiB, {system}, CPython {platform.python_version()}"
