"""What would break if these handlers met what is stored: `python -m taskql check-deploy`.

Invariant: it tells kinds, ids, fields and reasons, and never a value that a client sent, not even as the key
of a dict or in the words of a model's own validator.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import get_args
from uuid import UUID

from pydantic import ValidationError
from pydantic_core import ErrorDetails, core_schema

from taskql.errors import InvalidInput
from taskql.failures import class_name
from taskql.handler import Handler
from taskql.ports import Backlog, Stored
from taskql.registry import Registry
from taskql.shapes.shape import ListOf, Model, Nullable, Shape

RESULTS_OF_A_KIND = 100
IDS_TOLD = 3
REASONS_TOLD = 5
ANY = "*"
"""Stands in a path for an index, and for a key that a client chose."""

PYDANTICS_WORDS = set(get_args(core_schema.ErrorType)) - {
    "value_error",
    "assertion_error",
    "union_tag_invalid",
}
"""The errors whose texts can't hold what was sent."""

Progress = Callable[[int, int], None]
"""Is told how many waiting tasks have been looked at, and of how many."""


class Trouble(StrEnum):
    """What would be the matter with a number of tasks."""

    UNKNOWN_KIND = "waiting, and no handler has this kind"
    REFUSED_INPUT = "waiting with an input that the handler no longer accepts"
    UNSHOWN_RESULT = "completed with a result that could no longer be shown"


@dataclass
class Finding:
    """Where one kind would break in one way."""

    kind: str
    trouble: Trouble
    count: int = 0
    ids: list[UUID] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, task_id: UUID, reasons: Sequence[str] = ()) -> None:
        self.count += 1
        if len(self.ids) < IDS_TOLD:
            self.ids.append(task_id)
        for reason in reasons:
            if reason in self.reasons or len(self.reasons) < REASONS_TOLD:
                self.reasons[reason] += 1

    def lines(self) -> Iterator[str]:
        ids = ", ".join(map(str, self.ids)) + (", …" if self.count > len(self.ids) else "")
        yield f"{self.kind}: {counted(self.count, 'task')} {self.trouble} ({ids})"
        for reason, times in self.reasons.most_common():
            yield f"    {reason}" + (f" ({times} tasks)" if times > 1 else "")


class Report:
    """What was looked at and what was found, by kind."""

    def __init__(self) -> None:
        self.waiting = 0
        self.results: Counter[str] = Counter()
        self._found: dict[tuple[str, Trouble], Finding] = {}

    @property
    def findings(self) -> list[Finding]:
        return [self._found[key] for key in sorted(self._found, key=lambda key: (key[0], key[1].name))]

    def finding(self, kind: str, trouble: Trouble) -> Finding:
        return self._found.setdefault((kind, trouble), Finding(kind, trouble))

    def lines(self) -> Iterator[str]:
        """The report in words."""
        looked_at = f"looked at {counted(self.waiting, 'waiting task')} and {self._results_told()}"
        if not self._found:
            yield f"nothing would break: {looked_at}"
            return
        yield f"this would break ({looked_at}):"
        for finding in self.findings:
            yield from finding.lines()

    def _results_told(self) -> str:
        return counted(self.results.total(), "stored result")


async def check_deploy(registry: Registry, backlog: Backlog, progress: Progress) -> Report:
    """Hold what waits, and a sample of what is stored, against the handlers."""
    report = Report()
    total = await backlog.waiting()
    async for batch in backlog.inputs():
        for stored in batch:
            look_at_input(report, registry.get(stored.kind), stored)
        report.waiting += len(batch)
        progress(report.waiting, max(total, report.waiting))
    wanted = set(registry)
    async for batch in backlog.newest_results(wanted):
        for stored in batch:
            if stored.kind in wanted:
                look_at_result(report, registry[stored.kind], stored)
                if report.results[stored.kind] == RESULTS_OF_A_KIND:
                    wanted.remove(stored.kind)
    return report


def look_at_input(report: Report, handler: Handler | None, stored: Stored) -> None:
    if handler is None:
        report.finding(stored.kind, Trouble.UNKNOWN_KIND).add(stored.id)
        return
    try:
        handler.parse(stored.value)
    except InvalidInput as error:
        report.finding(stored.kind, Trouble.REFUSED_INPUT).add(stored.id, reasons(handler, error))
    except Exception as error:  # a defect in a validator of the model's own
        why = f"the model's own validator raises {class_name(error)}"
        report.finding(stored.kind, Trouble.REFUSED_INPUT).add(stored.id, [told("", why)])


def look_at_result(report: Report, handler: Handler, stored: Stored) -> None:
    report.results[stored.kind] += 1
    if handler.output is None:
        issue: tuple[tuple[str, ...], str] | None = ((), "the handler declares that it never returns")
    else:
        issue = handler.output.issue(stored.value)
    if issue is not None:
        path, why = issue
        place = ".".join(ANY if step.isdecimal() else step for step in path)
        report.finding(stored.kind, Trouble.UNSHOWN_RESULT).add(stored.id, [told(place, why)])


def reasons(handler: Handler, error: InvalidInput) -> list[str]:
    """Each wrong field of an input once, with pydantic's reason."""
    cause = error.__context__
    if not isinstance(cause, ValidationError) or handler.input is None:
        return [told("", "is refused")]
    known = set(field_names(handler.input.shape))
    issues = cause.errors(include_url=False, include_input=False, include_context=False)
    return list(dict.fromkeys(told(place_of(issue, known), why_of(issue)) for issue in issues))


def place_of(issue: ErrorDetails, known: set[str]) -> str:
    return ".".join(str(step) if step in known else ANY for step in issue["loc"])


def why_of(issue: ErrorDetails) -> str:
    if issue["type"] in PYDANTICS_WORDS:
        return issue["msg"]
    return "is refused by the model's own validator"


def told(place: str, why: str) -> str:
    return f"{place or 'it'}: {why}"


def field_names(shape: Shape, seen: tuple[Shape, ...] = ()) -> Iterator[str]:
    """The names of all fields in a shape."""
    match shape:
        case Nullable(of) | ListOf(of):
            yield from field_names(of, seen)
        case Model() if shape not in seen:
            for name, inner in shape.fields.items():
                yield name
                yield from field_names(inner.shape, (*seen, shape))


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
