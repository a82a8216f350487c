"""Failure to order: shows retries, back-off and dead letters at work."""

from typing import Never

from pydantic import BaseModel, Field

from taskql import Permanent, Retryable, TaskContext, handler


class Fail(BaseModel):
    """How to fail."""

    message: str = Field(
        default="Simulated failure",
        min_length=1,
        max_length=1000,
        description="What the failure says, 1 to 1,000 characters.",
    )
    permanent: bool = Field(
        default=False,
        description="Fail at the first attempt; otherwise the task is tried again up to its maxAttempts.",
    )


@handler("fail")
async def fail(work: Fail, task: TaskContext) -> Never:
    """Fail always, at once or after retries with back-off. There is no result; see the task's `failure`."""
    raise Permanent(work.message) if work.permanent else Retryable(work.message)
