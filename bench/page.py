"""The page that `make bench` writes: ours beside the others, what it cost each process, and where."""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median

from bench.entrants import ENTRANTS, NODE, PYTHON, without_node
from bench.figures import FIGURES, Goal
from bench.table import Results, machine, number_of

OURS = "ours"
PROCESSES = ("server", "worker", "postgres", "redis", "sqs")
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
    beside: Results = field(default_factory=Results)
    cpu: Results = field(default_factory=Results)
    """A figure and a process, for each entrant."""
    alone: dict[str, Results] = field(default_factory=dict)
    foreign: list[float] = field(default_factory=list)

    def section(self, title: str) -> Results:
        return self.alone.setdefault(title, Results())


def page(book: Book, versions: Mapping[str, str]) -> str:
    parts = [head(book)]
    names = [name for name in ENTRANTS if any(name in servers for servers in book.beside.figures.values())]
    if names:
        parts += ["## Beside each other", table_beside(book.beside, names)]
    if OURS in names and len(names) > 1:
        parts += ["## TaskQL's, in times of theirs", RATIOS, table_of_ratios(book.beside, names)]
    if names:
        parts += ["## CPU time for one operation", CPU, table_of_cpu(book.cpu, names)]
    for title, results in book.alone.items():
        parts += [f"## {title}", table_of_cases(results)]
        parts += ["\n".join(f"- {note}" for note in results.notes)] if results.notes else []
    parts += ["## Versions", ", ".join(f"{name} {version}" for name, version in versions.items()) + "."]
    if book.beside.notes:
        parts += ["## Left out, or failed", "\n".join(f"- {note}" for note in book.beside.notes)]
    return "\n\n".join(parts) + "\n"


RATIOS = (
    "Above 1, TaskQL is the better one, also where less is better. The goal is beside the figure, and "
    "whether it was reached. Below 1.3 either way says nothing."
)
CPU = (
    "Microseconds of user and system time, medians. The server of a task queue is the client that enqueues. "
    "It is the figure that noise changes least."
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
        f"{datetime.now(UTC):%d %B %Y}, {machine()}. {book.repeats} runs of each, in turn: the median, and "
        f"the lowest and highest in brackets. Others used {foreign} cores meanwhile. How to read it, "
        f"and what is fair and what is not: [README.md](README.md).{trial}"
    )


def table_beside(results: Results, names: Sequence[str]) -> str:
    titles = [ENTRANTS[name].title for name in names]
    rows = []
    for key, figure in FIGURES.items():
        if servers := results.figures.get(key):
            rows.append([f"{figure.title}, {figure.unit}", *(spread(servers.get(name)) for name in names)])
    return markdown(["", *titles], rows)


def table_of_ratios(results: Results, names: Sequence[str]) -> str:
    others = [name for name in names if name != OURS]
    rows = []
    for key, figure in FIGURES.items():
        ours = results.median(key, OURS)
        if ours is None:
            continue
        cells = [
            ratio_of(ours, results.median(key, name), more_is_better=figure.more_is_better) for name in others
        ]
        goals = "; ".join(verdict(goal, key, ours, results) for goal in figure.goals)
        rows.append([figure.title, goals, *(shown(cell) for cell in cells)])
    return markdown(["", "goal", *(ENTRANTS[name].title for name in others)], rows)


def verdict(goal: Goal, key: str, ours: float, results: Results) -> str:
    """The goal in words, and whether it was reached, if that can be told."""
    if goal.under:
        return f"under {goal.under:g}: {number_of(ours)}, {'reached' if ours < goal.under else 'not reached'}"
    best = max((value for name in goal.of if (value := results.median(key, name)) is not None), default=None)
    words = f"{goal.times:g} times {' or '.join(ENTRANTS[name].title for name in goal.of)}"
    if best is None:
        return words
    return f"{words}: {ours / best:.2g}, {'reached' if ours >= goal.times * best else 'not reached'}"


def ratio_of(ours: float, theirs: float | None, *, more_is_better: bool) -> float | None:
    if theirs is None or ours <= 0 or theirs <= 0:
        return None
    return ours / theirs if more_is_better else theirs / ours


def table_of_cpu(results: Results, names: Sequence[str]) -> str:
    rows = []
    for key, figure in FIGURES.items():
        for name in names:
            used = [results.median(f"{key} {process}", name) for process in PROCESSES]
            if any(each is not None for each in used):
                cells = ["" if each is None else f"{each:,.0f}" for each in used]
                rows.append([figure.title, ENTRANTS[name].title, *cells])
    return markdown(["", "", *PROCESSES], rows)


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
