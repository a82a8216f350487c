"""Handlers for `test_lambda`, which go into the function's package as a module of their own."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta

from pydantic import BaseModel

from taskql import TaskContext, handler, lifespan


class Processes(BaseModel):
    parent: int
    own: int


class Attempts(BaseModel):
    attempt: int


class Opened:
    """What a container opens once."""


@lifespan
async def opened() -> AsyncIterator[Opened]:
    yield Opened()


@handler("processes", process=True)
def processes(task: TaskContext) -> Processes:
    """Tell in which process it runs, and of which that is a child."""
    task.resource(Opened)
    return Processes(parent=os.getppid(), own=os.getpid())


@handler("crashOnce", timeout=timedelta(seconds=30))
async def crash_once(task: TaskContext) -> Attempts:
    """Take the container along, the first time."""
    if task.attempt == 1:
        os._exit(1)
    return Attempts(attempt=task.attempt)


@handler("outlast")
async def outlast(task: TaskContext) -> Attempts:
    """Run for longer than any function may, the first time."""
    task.resource(Opened)
    if task.attempt == 1:
        await asyncio.Event().wait()
    return Attempts(attempt=task.attempt)
