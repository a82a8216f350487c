"""The page that `make bench` writes: ours beside the others, what it cost each process, and where."""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.entrants import ENTRANTS, NODE, PYTHON, without_node
from bench.figures import FIGURES, Goal
from bench.table import Results, machine, number_of

OURS = ("ours", "ours-auth")
PROCESSES = {
    "server": "API, or client",
    "worker": "worker",
    "postgres": "PostgreSQL",
    "redis": "Valkey",
    "sqs": "emulator",
}
PACKAGES = (
    "celery", "taskiq", "taskiq-aio-sqs", "procrastinate", "strawberry-graphql", "fastapi", "uvicorn",
    "sqlalchemy", "aiobotocore", "asyncpg",
)  # fmt: skip
NODE_PACKAGES = ("graphql-yoga", "graphql-ws", "mercurius", "pg", "ioredis", "@aws-sdk/client-sqs")


@dataclass
class Book:
    """All that was measured: beside the others, and of ours alone."""

    repeats: int
    scale: float = 1.0
    """Less than one in a trial: of the numbers of tasks and watchers."""
    command: str = "make bench"
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    versions: Mapping[str, str] = field(default_factory=dict)
    output: Path | None = None
    """Where the page is; it is written whenever something is over."""
    cpu: Results = field(default_factory=Results)
    """A figure and a process, for each entrant."""
    alone: dict[str, Results] = field(default_factory=dict)
    foreign: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.beside = Results(self.write)

    def section(self, title: str) -> Results:
        return self.alone.setdefault(title, Results(self.write))

    def write(self) -> None:
        if self.output:
            self.output.write_text(page(self))


def page(book: Book) -> str:
    parts = [head(book)]
    names = names_in(book.beside)
    if names:
        parts += ["## Beside each other", BESIDE, table_beside(book.beside, names)]
    if ours := [name for name in OURS if name in names]:
        parts += ["## Goals", table_of_goals(book.beside, ours)]
        if others := [name for name in names if name not in OURS]:
            ratios = table_of_ratios(book.beside, ours[0], others)
            parts += ["## TaskQL's, in times of theirs", RATIOS, ratios]
    if names:
        parts += ["## CPU time for one operation", CPU, table_of_cpu(book.cpu, names)]
    for title, results in book.alone.items():
        parts += [f"## {title}", table_of_cases(results)]
        parts += ["\n".join(f"- {note}" for note in results.notes)] if results.notes else []
    parts += ["## Versions", ", ".join(f"{name} {version}" for name, version in book.versions.items()) + "."]
    if book.beside.notes:
        parts += ["## Left out, or failed", "\n".join(f"- {note}" for note in book.beside.notes)]
    return "\n\n".join(parts) + "\n"


BESIDE = (
    "End to end, each has one worker, and that runs as many tasks at a time as it does by default, TaskQL's "
    "too; only procrastinate's default of 1 was raised."
)
RATIOS = "Above 1, TaskQL is the better one, also where less is better. Below 1.3 either way says nothing."
CPU = (
    "Microseconds of user and system time, medians: the figure that noise changes least. A task queue has no "
    "API, and its first column is the client that enqueues. The load generator is in none of them."
)


def head(book: Book) -> str:
    foreign = f"{median(book.foreign):.2f}, at most {max(book.foreign):.2f}" if book.foreign else "unknown"
    trial = (
        f" A trial: there were {book.scale:.2g} times as many tasks and watchers as the names say, and times "
        "were short. It says nothing about speed."
        if book.scale < 1
        else ""
    )
    return (
        "# Measured\n\n"
        f"{book.began:%d %B %Y, %H:%M} to {datetime.now(UTC):%H:%M} UTC, by `{book.command}`, on "
        f"{machine()}. Runs of each, in turn: {book.repeats}; the median, and the lowest and highest in "
        f"brackets. Others used {foreign} cores meanwhile. How to read it, and what is fair and what is not: "
        f"[README.md](README.md).{trial}"
    )


def names_in(results: Results) -> list[str]:
    """Of the entrants that were measured, or should have been."""
    tried = {name for servers in results.figures.values() for name in servers}
    tried |= {name for _, name in results.failed}
    return [name for name in ENTRANTS if name in tried]


def table_beside(results: Results, names: Sequence[str]) -> str:
    rows = []
    for key, figure in FIGURES.items():
        servers = results.figures.get(key, {})
        failed = [name for name in names if (figure.part, name) in results.failed]
        if servers or failed:
            cells = [spread(servers.get(name)) or ("failed" if name in failed else "") for name in names]
            rows.append([f"{figure.title}, {figure.unit}", *cells])
        if key == "e2e" and servers:
            rows.append(["tasks at a time", *(ENTRANTS[name].at_a_time for name in names)])
    return markdown(["", *(ENTRANTS[name].title for name in names)], rows)


def table_of_goals(results: Results, ours: Sequence[str]) -> str:
    rows = []
    for key, figure in FIGURES.items():
        if any(results.median(key, name) is not None for name in ours):
            for goal in figure.goals:
                cells = [verdict(goal, key, name, results) for name in ours]
                rows.append([figure.title, in_words(goal, figure.unit), *cells])
    return markdown(["", "goal", *(ENTRANTS[name].title for name in ours)], rows)


def in_words(goal: Goal, unit: str) -> str:
    if goal.under:
        return f"under {goal.under:g} {unit}"
    better = "the better of " if len(goal.of) > 1 else ""
    return f"{goal.times:g}x {better}{' and '.join(ENTRANTS[name].title for name in goal.of)}"


def verdict(goal: Goal, key: str, name: str, results: Results) -> str:
    """What one of ours has of the goal, and whether it was reached, if that can be told."""
    ours = results.median(key, name)
    if ours is None:
        return ""
    if goal.under:
        return f"{number_of(ours)}, {'reached' if ours < goal.under else 'not reached'}"
    others = {other: value for other in goal.of if (value := results.median(key, other)) is not None}
    if not others:
        return "nobody to compare with"
    best = max(others, key=others.__getitem__)
    reached = "reached" if ours >= goal.times * others[best] else "not reached"
    return f"{ours / others[best]:.2g}x {ENTRANTS[best].title}, {reached}"


def table_of_ratios(results: Results, ours: str, others: Sequence[str]) -> str:
    rows = []
    for key, figure in FIGURES.items():
        mine = results.median(key, ours)
        if mine is not None:
            ratios = [
                ratio_of(mine, results.median(key, name), more_is_better=figure.more_is_better)
                for name in others
            ]
            rows.append([figure.title, *(shown(ratio) for ratio in ratios)])
    return markdown(["", *(ENTRANTS[name].title for name in others)], rows)


def ratio_of(ours: float, theirs: float | None, *, more_is_better: bool) -> float | None:
    if theirs is None or ours <= 0 or theirs <= 0:
        return None
    return ours / theirs if more_is_better else theirs / ours


def table_of_cpu(results: Results, names: Sequence[str]) -> str:
    rows = []
    for key, figure in FIGURES.items():
        for name in names:
            used = [results.median(f"{key} {process}", name) for process in PROCESSES]
            if known := [each for each in used if each is not None]:
                cells = ["" if each is None else f"{each:,.0f}" for each in (*used, sum(known))]
                rows.append([figure.title, ENTRANTS[name].title, *cells])
    return markdown(["", "", *PROCESSES.values(), "together"], rows)


def table_of_cases(results: Results) -> str:
    """A row for each case, a column for each figure."""
    cases = list(dict.fromkeys(case for cases in results.figures.values() for case in cases))
    titles = [f"{figure}, {results.units[figure]}".removesuffix(", ") for figure in results.figures]
    rows = [[case, *(spread(cases.get(case)) for cases in results.figures.values())] for case in cases]
    return markdown(["", *titles], rows) if rows else "Nothing could be measured."


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def spread(values: Sequence[float] | None) -> str:
    if not values:
        return ""
    middle = number_of(median(values))
    return middle if len(values) == 1 else f"{middle} ({number_of(min(values))}–{number_of(max(values))})"


def shown(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2g}"


def versions_of_peers() -> dict[str, str]:
    """Of what is installed for them here."""
    found = {name: said for name in PACKAGES if (said := version_of(name, PYTHON))}
    if without_node() is None:
        found["Node"] = subprocess.run(
            ["node", "--version"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in NODE_PACKAGES:
            found[name] = json.loads((NODE / "node_modules" / name / "package.json").read_text())["version"]
    return found


def version_of(package: str, python: str) -> str:
    """What another environment holds of a package; nothing, if it holds none of it."""
    program = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    done = subprocess.run([python, "-c", program, package], capture_output=True, text=True, check=False)
    return done.stdout.strip()
