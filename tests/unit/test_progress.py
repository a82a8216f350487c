"""What an attempt reports while it runs, on scripted ports."""

import asyncio
from uuid import uuid4

import pytest

from consumer import progress as progress_module
from consumer.progress import ProgressReporter
from taskql.errors import LeaseLost
from taskql.task import Lease, Progress
from tests.unit.scripted import AT_ONCE, AWAY, HOUR, Outside


@pytest.fixture
def outside() -> Outside:
    return Outside()


@pytest.fixture
def quick_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "EVERY", AT_ONCE)


def reports(outside: Outside) -> list[Progress]:
    return [entry[1] for entry in outside.named("progress")]


async def test_of_many_reports_the_first_and_the_last_are_written(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interval is too long for more: leaving the block ends it."""
    monkeypatch.setattr(progress_module, "EVERY", HOUR)
    async with ProgressReporter(outside, outside, Lease(uuid4(), 1)) as reporter:
        reporter.report(Progress(0.0))
        await outside.until(lambda: len(reports(outside)) == 1)
        for number in range(1, 101):
            reporter.report(Progress(number / 100))
        await asyncio.sleep(0)
    assert reports(outside) == [Progress(0.0), Progress(1.0)]
    assert len(outside.named("publish")) == len(reports(outside))


async def test_reports_may_come_from_a_thread(outside: Outside, quick_progress: None) -> None:
    async with ProgressReporter(outside, outside, Lease(uuid4(), 1)) as reporter:
        await asyncio.to_thread(reporter.report, Progress(0.5, "half"))
        await outside.until(lambda: Progress(0.5, "half") in reports(outside))


async def test_a_task_that_reports_nothing_writes_nothing(outside: Outside) -> None:
    async with ProgressReporter(outside, outside, Lease(uuid4(), 1)):
        pass
    assert outside.log == []


async def test_a_report_after_the_end_is_dropped(outside: Outside, quick_progress: None) -> None:
    async with ProgressReporter(outside, outside, Lease(uuid4(), 1)) as reporter:
        pass
    reporter.report(Progress(0.5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert outside.log == []


async def test_a_report_that_meets_an_outage_is_dropped_and_the_next_is_written(
    outside: Outside, quick_progress: None
) -> None:
    outside.fails("progress", AWAY)
    async with ProgressReporter(outside, outside, Lease(uuid4(), 1)) as reporter:
        reporter.report(Progress(0.1))
        await outside.until(lambda: len(reports(outside)) == 1)
        reporter.report(Progress(0.2))
        await outside.until(lambda: len(reports(outside)) == 2)
    assert len(outside.named("publish")) == 1


async def test_without_its_lease_an_attempt_reports_no_more(outside: Outside, quick_progress: None) -> None:
    outside.fails("progress", LeaseLost("rescued"))
    async with ProgressReporter(outside, outside, Lease(uuid4(), 1)) as reporter:
        for number in range(5):
            reporter.report(Progress(number / 10))
            await outside.until(lambda: len(reports(outside)) >= 1)
    assert len(reports(outside)) == 1
    assert outside.named("publish") == []
