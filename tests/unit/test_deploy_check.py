"""What `check-deploy` finds, on a scripted backlog."""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Never
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, field_validator

from taskql import TaskContext, bootstrap, handler
from taskql.__main__ import main, show_progress
from taskql.deploy_check import REASONS_TOLD, RESULTS_OF_A_KIND, Report, Trouble, check_deploy
from taskql.handler import declared
from taskql.ports import Stored
from taskql.registry import Registry
from taskql.task import JSON

SECRET = "hunter2"


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Item(BaseModel):
    sku: str
    count: Annotated[int, Field(ge=1)] = 1


class Order(BaseModel):
    size: Size = Size.SMALL
    items: list[Item] = []
    extra: dict[str, int] = {}
    code: str = "ok"

    @field_validator("code")
    @classmethod
    def _is_fine(cls, code: str) -> str:
        if code == "defect":
            raise KeyError(SECRET)
        if code != "ok":
            raise ValueError(f"{code} is not fine")
        return code


class Receipt(BaseModel):
    total: int
    lines: list[int] = []


@handler("order")
async def order(work: Order, task: TaskContext) -> Receipt:
    raise NotImplementedError


@handler("nothing")
async def nothing(task: TaskContext) -> None:
    raise NotImplementedError


@handler("never")
async def never(task: TaskContext) -> Never:
    raise NotImplementedError


REGISTRY = Registry(found for function in (order, nothing, never) if (found := declared(function)))


class Scripted:
    """A Backlog, three at a time."""

    def __init__(self, inputs: Sequence[Stored] = (), results: Sequence[Stored] = ()) -> None:
        self._inputs = inputs
        self._results = results
        self.asked: list[set[str]] = []

    async def waiting(self) -> int:
        return len(self._inputs)

    async def inputs(self) -> AsyncIterator[Sequence[Stored]]:
        for start in range(0, len(self._inputs), 3):
            yield self._inputs[start : start + 3]

    async def newest_results(self, kinds: Collection[str]) -> AsyncIterator[Sequence[Stored]]:
        for start in range(0, len(self._results), 3):
            self.asked.append(set(kinds))
            yield [stored for stored in self._results[start : start + 3] if stored.kind in kinds]


def stored(kind: str, *values: JSON) -> list[Stored]:
    return [Stored(UUID(int=number), kind, value) for number, value in enumerate(values)]


async def report(inputs: Sequence[Stored] = (), results: Sequence[Stored] = ()) -> Report:
    return await check_deploy(REGISTRY, Scripted(inputs, results), lambda done, total: None)


async def refused(value: JSON) -> dict[str, int]:
    """The reasons why an order is no longer accepted."""
    [finding] = (await report(stored("order", value))).findings
    assert finding.trouble is Trouble.REFUSED_INPUT
    return dict(finding.reasons)


async def unshown(kind: str, value: JSON) -> dict[str, int]:
    [finding] = (await report((), stored(kind, value))).findings
    assert finding.trouble is Trouble.UNSHOWN_RESULT
    return dict(finding.reasons)


async def test_what_fits_breaks_nothing_and_says_how_much_was_looked_at() -> None:
    inputs = [*stored("order", {"items": [{"sku": "a"}]}, {}), *stored("nothing", {})]
    results = [*stored("order", {"total": 1, "lines": [2]}), *stored("nothing", None)]
    found = await report(inputs, results)
    assert found.findings == []
    assert list(found.lines()) == ["nothing would break: looked at 3 waiting tasks and 2 stored results"]


async def test_an_empty_database_breaks_nothing() -> None:
    assert list((await report()).lines()) == [
        "nothing would break: looked at 0 waiting tasks and 0 stored results"
    ]


async def test_kinds_that_are_unknown_here_are_told_with_a_few_ids() -> None:
    found = await report([*stored("gone", {}, {}, {}, {}, {}), *stored("order", {}), *stored("alone", {})])
    ids = ", ".join(str(UUID(int=number)) for number in range(3))
    assert list(found.lines()) == [
        "this would break (looked at 7 waiting tasks and 0 stored results):",
        f"alone: 1 task waiting, and no handler has this kind ({UUID(int=0)})",
        f"gone: 5 tasks waiting, and no handler has this kind ({ids}, …)",
    ]


async def test_inputs_that_are_no_longer_accepted_are_told_by_field() -> None:
    found = await report(stored("order", {"items": [{}, {"sku": "a", "count": 0}]}, {"items": [{}]}))
    assert list(found.lines()) == [
        "this would break (looked at 2 waiting tasks and 0 stored results):",
        "order: 2 tasks waiting with an input that the handler no longer accepts "
        f"({UUID(int=0)}, {UUID(int=1)})",
        "    items.*.sku: Field required (2 tasks)",
        "    items.*.count: Input should be greater than or equal to 1",
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"size": SECRET}, "size: Input should be 'small' or 'large'"),
        (
            {"extra": {SECRET: "x"}},
            "extra.*: Input should be a valid integer, unable to parse string as an integer",
        ),
        ({"code": SECRET}, "code: is refused by the model's own validator"),
        ({"code": "defect"}, "it: the model's own validator raises KeyError"),
        (SECRET, "it: Input should be a valid dictionary or instance of Order"),
    ],
    ids=["value", "key", "validator", "defect", "whole"],
)
async def test_what_a_client_sent_is_never_told(value: Any, reason: str) -> None:
    found = await report(stored("order", value))
    assert SECRET not in "\n".join(found.lines())
    assert list(await refused(value)) == [reason]


async def test_only_a_few_reasons_are_kept_however_many_there_are() -> None:
    class Wide(BaseModel):
        a: int
        b: int
        c: int
        d: int
        e: int
        f: int

    @handler("wide")
    async def wide(work: Wide, task: TaskContext) -> None:
        raise NotImplementedError

    found = declared(wide)
    assert found is not None
    result = await check_deploy(Registry([found]), Scripted(stored("wide", {}, {})), lambda *_: None)
    [finding] = result.findings
    assert list(finding.reasons.values()) == [2] * REASONS_TOLD


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("order", {"lines": []}, "total: Field required"),
        ("order", {"total": 1, "lines": [1, "x"]}, "lines.*: "),
        ("order", None, "it: is null"),
        ("never", {"x": 1}, "it: the handler declares that it never returns"),
    ],
)
async def test_results_that_could_no_longer_be_shown_are_told(kind: str, value: JSON, reason: str) -> None:
    [told] = await unshown(kind, value)
    assert told.startswith(reason)


async def test_of_each_kind_a_bounded_number_of_results_is_asked_for() -> None:
    many = stored("order", *[{"total": 1}] * (RESULTS_OF_A_KIND + 30))
    backlog = Scripted((), many)
    found = await check_deploy(REGISTRY, backlog, lambda *_: None)
    assert found.results == {"order": RESULTS_OF_A_KIND}
    assert "order" in backlog.asked[0]
    assert "order" not in backlog.asked[-1]


async def test_progress_is_told_batch_by_batch() -> None:
    seen: list[tuple[int, int]] = []
    await check_deploy(
        REGISTRY, Scripted(stored("order", *[{}] * 7)), lambda done, total: seen.append((done, total))
    )
    assert seen == [(3, 7), (6, 7), (7, 7)]


# ---------------------------------------------------------------- the command


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Settings of the test's own, in a folder without .env."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TASK_HANDLERS", raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgresql://taskql:hunter2@127.0.0.1:1/taskql")
    monkeypatch.setattr(bootstrap, "CHECK_PATIENCE", timedelta(milliseconds=1))
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DATABASE_URL", "", "DATABASE_URL is not set"),
        ("DATABASE_URL", "taskql", "DATABASE_URL is no URL"),
        ("TASK_HANDLERS", "no.such.module", "'no.such.module' can't be imported"),
        ("LOG_LEVEL", "loud", "PostgreSQL could not be reached"),
    ],
    ids=["no database", "no URL", "no handlers", "nobody there"],
)
def test_a_check_that_can_not_be_made_says_why_in_one_line(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, told: str
) -> None:
    environment.setenv(name, value)
    assert main(["check-deploy"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("TaskQL: the deployment can't be checked: ")
    assert told in printed.err
    assert SECRET not in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_wrong_command_line_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check-deploy", "now"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "TaskQL: unrecognized arguments: now\n"


def test_its_help_tells_what_it_needs_and_what_its_exit_codes_mean(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["check-deploy", "--help"])
    help_ = " ".join(capsys.readouterr().out.split())
    for told in ("DATABASE_URL", "TASK_HANDLERS", "0: nothing would break", "1: what would is listed"):
        assert told in help_


@pytest.mark.parametrize(
    ("terminal", "shown"), [(True, "\r\x1b[Klooked at 1 of 2 waiting tasks"), (False, "")]
)
def test_progress_is_shown_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool, shown: str
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    show_progress(1, 2)
    assert capsys.readouterr().err == shown
    show_progress(2, 2)
    assert capsys.readouterr().err == ("\r\x1b[K" if terminal else "")
