"""A kind whose effects outside can be counted: what tells a second execution from a second outcome."""

import asyncio
import os
import time
from datetime import timedelta
from uuid import uuid4

from pydantic import BaseModel

from taskql import Retryable, TaskContext, handler

EFFECTS = "TASKQL_FAULTS_EFFECTS"
"""The variable that names the file of the effects."""

STEP_SECONDS = 0.05

AFTER = "after "
"""How the title of a follow-up begins; it goes on with the id of the task that asked for it."""


class LeaveMark(BaseModel):
    """Take `seconds`, ask for `follow_ups`, fail the first `failures` attempts, then leave a mark."""

    seconds: float = 0
    failures: int = 0
    after_seconds: float = 0.5
    follow_ups: int = 0


class Mark(BaseModel):
    """Which execution left the mark: its attempt, and a token that no other execution has."""

    attempt: int
    token: str


@handler("leaveMark")
async def leave_mark(work: LeaveMark, task: TaskContext) -> Mark:
    """Work in the loop, then have an effect."""
    await asyncio.sleep(work.seconds)
    return mark(work, task)


@handler("leaveMarkFromThread")
def leave_mark_from_thread(work: LeaveMark, task: TaskContext) -> Mark:
    """The same in a thread, which nothing can stop but itself."""
    until = time.monotonic() + work.seconds
    while time.monotonic() < until and not task.cancelled:
        time.sleep(STEP_SECONDS)
    return mark(work, task)


def mark(work: LeaveMark, task: TaskContext) -> Mark:
    """One line, written whole: whatever kills us, it is there or it isn't."""
    for _ in range(work.follow_ups):
        task.create_task(leave_mark, LeaveMark(), title=f"{AFTER}{task.id}")
    if task.attempt <= work.failures:
        raise Retryable("as ordered", after=timedelta(seconds=work.after_seconds))
    left = Mark(attempt=task.attempt, token=uuid4().hex)
    descriptor = os.open(os.environ[EFFECTS], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{task.id} {left.attempt} {left.token}\n".encode())
    finally:
        os.close(descriptor)
    return left
