"""The kinds that ship, called as the worker calls them: stored input in, JSON out."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskql import Permanent, Retryable
from taskql.errors import InvalidInput
from taskql.registry import SHIPPED, Registry, load_registry
from taskql.retry import BadResult
from taskql.task import Progress
from tests.unit.contexts import a_context

REGISTRY: Registry = load_registry()


async def run(
    kind: str,
    work: dict[str, Any] | None = None,
    *,
    title: str = "a title",
    description: str | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Any:
    """What a task of `kind` results in."""
    handler = REGISTRY[kind]
    context = a_context(report, title=title, description=description)
    return handler.result(await handler.function(*handler.arguments(handler.stored(work or {}), context)))


def refused(kind: str, work: dict[str, Any]) -> list[tuple[str, ...]]:
    """The places for which an input is refused."""
    with pytest.raises(InvalidInput) as caught:
        REGISTRY[kind].stored(work)
    return [path for path, _ in caught.value.issues]


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time passes at once; the list says how much."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return slept


def test_each_shipped_kind_is_documented_with_all_its_fields() -> None:
    assert tuple(REGISTRY) == SHIPPED
    for handler in REGISTRY.values():
        assert handler.description
        for model in filter(None, (handler.input_model, handler.result_model)):
            assert model.__doc__
            assert all(field.description for field in model.model_fields.values())


async def test_process_names_the_title_and_the_time() -> None:
    before = datetime.now(UTC)
    message = (await run("process", title="Water the plants"))["message"]
    start, at = message.split(" at ")
    assert start == "Processed task 'Water the plants'"
    moment = datetime.fromisoformat(at)
    assert moment.utcoffset() == timedelta(0)
    assert before - timedelta(milliseconds=1) <= moment <= datetime.now(UTC)


async def test_process_adds_the_description_where_there_is_one() -> None:
    assert (await run("process", description="all of them"))["message"].endswith(
        " with description: all of them"
    )
    assert "with description" not in (await run("process", description=""))["message"]


async def test_compute_describes_numbers() -> None:
    result = await run("compute", {"numbers": [3, -1.5, 10]})
    assert result == {"count": 3, "sum": 11.5, "average": pytest.approx(11.5 / 3), "max": 10, "min": -1.5}


async def test_compute_of_nothing_is_zero_without_extremes() -> None:
    result = await run("compute", {"numbers": []})
    assert result == {"count": 0, "sum": 0, "average": 0, "max": None, "min": None}


async def test_compute_sums_without_rounding_on_the_way() -> None:
    assert (await run("compute", {"numbers": [0.1] * 10}))["sum"] == 1
    assert (await run("compute", {"numbers": [1e16, 1, -1e16]}))["sum"] == 1


async def test_compute_fails_for_good_when_the_sum_is_beyond_a_float() -> None:
    with pytest.raises(Permanent, match="smaller numbers"):
        await run("compute", {"numbers": [1.7e308, 1.7e308]})


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan"), "x", None])
def test_compute_refuses_what_is_no_finite_number_and_says_where(number: object) -> None:
    assert refused("compute", {"numbers": [1, number]}) == [("numbers", "1")]


async def test_transform_measures_a_text() -> None:
    assert await run("transform", {"text": "Hello World from SQS Processing"}) == {
        "uppercase": "HELLO WORLD FROM SQS PROCESSING",
        "lowercase": "hello world from sqs processing",
        "word_count": 5,
        "char_count": 31,
    }


async def test_transform_takes_an_empty_text_and_any_script() -> None:
    assert await run("transform", {"text": ""}) == {
        "uppercase": "",
        "lowercase": "",
        "word_count": 0,
        "char_count": 0,
    }
    assert await run("transform", {"text": " Straße\n🚀\u00a0x "}) == {
        "uppercase": " STRASSE\n🚀\u00a0X ",
        "lowercase": " straße\n🚀\u00a0x ",
        "word_count": 3,
        "char_count": 12,
    }


@pytest.mark.parametrize(("text", "backwards"), [("hello", "olleh"), ("", ""), ("a🚀b", "b🚀a")])
async def test_reverse_turns_a_text_around(text: str, backwards: str) -> None:
    assert await run("reverse", {"input_data": text}) == {"output_data": backwards}


async def test_fail_can_be_tried_again_unless_it_is_permanent() -> None:
    with pytest.raises(Retryable, match=r"^Simulated failure$"):
        await run("fail")
    with pytest.raises(Permanent, match=r"^no luck$"):
        await run("fail", {"message": "no luck", "permanent": True})


def test_fail_declares_no_result_and_can_have_none() -> None:
    assert REGISTRY["fail"].result_model is None
    with pytest.raises(BadResult, match="never returns"):
        REGISTRY["fail"].result(None)


@pytest.mark.parametrize("message", ["", "x" * 1001])
def test_fail_refuses_an_empty_or_endless_message(message: str) -> None:
    assert refused("fail", {"message": message}) == [("message",)]


async def test_countdown_reports_each_step(sleeps: list[float]) -> None:
    reports: list[Progress] = []
    result = await run("countdown", {"steps": 4, "step_seconds": 2}, report=reports.append)
    assert result == {"steps": 4}
    assert sleeps == [2] * 4
    assert reports[2] == Progress(0.75, "3 of 4")
    assert [report.fraction for report in reports] == [0.25, 0.5, 0.75, 1]


async def test_countdown_has_five_steps_of_a_second(sleeps: list[float]) -> None:
    assert await run("countdown") == {"steps": 5}
    assert sleeps == [1] * 5


@pytest.mark.parametrize("work", [{"steps": 0}, {"steps": 1001}, {"step_seconds": -1}, {"step_seconds": 61}])
def test_countdown_refuses_what_is_out_of_bounds(work: dict[str, Any]) -> None:
    assert refused("countdown", work) == [tuple(work)]


def test_countdown_refuses_to_last_longer_than_a_task_may_run() -> None:
    assert refused("countdown", {"steps": 1000, "step_seconds": 60}) == [()]


SIMULATING: dict[str, dict[str, Any]] = {
    "process": {},
    "compute": {"numbers": [1]},
    "transform": {"text": "x"},
    "reverse": {"input_data": "x"},
}


@pytest.mark.parametrize("kind", SIMULATING)
async def test_simulated_work_takes_its_time_and_reports_on_the_way(kind: str, sleeps: list[float]) -> None:
    reports: list[Progress] = []
    await run(kind, {**SIMULATING[kind], "simulate_seconds": 2.5}, report=reports.append)
    assert sum(sleeps) == pytest.approx(2.5)
    assert [report.fraction for report in reports] == [pytest.approx(1 / 3), pytest.approx(2 / 3)]


@pytest.mark.parametrize("seconds", [0, 0.2, 1])
async def test_short_work_reports_nothing(seconds: float, sleeps: list[float]) -> None:
    reports: list[Progress] = []
    await run("process", {"simulate_seconds": seconds}, report=reports.append)
    assert sum(sleeps) == seconds
    assert reports == []


async def test_an_hour_of_work_does_not_flood_the_watchers(sleeps: list[float]) -> None:
    reports: list[Progress] = []
    await run("process", {"simulate_seconds": 3600}, report=reports.append)
    assert sum(sleeps) == pytest.approx(3600)
    assert len(reports) < 100


@pytest.mark.parametrize("kind", SIMULATING)
@pytest.mark.parametrize("seconds", [-0.1, 3600.1, float("inf"), float("nan")])
def test_simulated_time_out_of_bounds_is_refused(kind: str, seconds: float) -> None:
    assert refused(kind, {**SIMULATING[kind], "simulate_seconds": seconds}) == [("simulate_seconds",)]


@pytest.mark.parametrize("kind", SIMULATING)
def test_the_longest_simulation_fits_into_the_time_limit(kind: str) -> None:
    assert REGISTRY[kind].timeout > timedelta(hours=1)
