"""Handlers that the API of `test_check_deploy` knows and its consumer does not."""

from dataclasses import dataclass

from taskql import TaskContext, handler


@dataclass
class Promise:
    count: int


@handler("promise")
async def promise(work: Promise, task: TaskContext) -> None:
    """Do what only the newer workers can."""
