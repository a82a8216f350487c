"""Handlers for tests/system/test_logs.py: one that logs, one that returns what it must not."""

from dataclasses import dataclass

from taskql import TaskContext, handler


@dataclass
class Words:
    """What it is told."""

    text: str


@dataclass
class Count:
    """What it answers."""

    count: int


@handler("loggingCount", process=True)
def logging_count(work: Words, task: TaskContext) -> Count:
    """Counts, and says so in its log."""
    task.log.info("counting", extra={"chars": len(work.text)})
    return Count(len(work.text))


@handler("badCount", process=True, max_attempts=1)
def bad_count(work: Words, task: TaskContext) -> Count:
    """Returns the text that it was told."""
    return Count(work.text)  # type: ignore[arg-type]


@handler("badCountHere", max_attempts=1)
async def bad_count_here(work: Words, task: TaskContext) -> Count:
    """The same in the worker's own process."""
    return Count(work.text)  # type: ignore[arg-type]
