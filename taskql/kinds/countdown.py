"""Something to watch and to cancel: steps, each of them reported."""

import asyncio
from datetime import timedelta
from typing import Self

from pydantic import BaseModel, Field, model_validator

from taskql import TaskContext, handler

MAX_COUNTDOWN = timedelta(hours=10)


class Countdown(BaseModel):
    """How many steps, and how long each takes: ten hours at most in all."""

    steps: int = Field(default=5, ge=1, le=1000, description="1 to 1,000.")
    step_seconds: float = Field(
        default=1, ge=0, le=60, allow_inf_nan=False, description="How long each step takes, 0 to 60 seconds."
    )

    @model_validator(mode="after")
    def _ends_in_time(self) -> Self:
        if self.steps * self.step_seconds > MAX_COUNTDOWN.total_seconds():
            raise ValueError("steps times stepSeconds is more than ten hours; take fewer or shorter steps")
        return self


class CountdownOutput(BaseModel):
    """The countdown reached its end."""

    steps: int = Field(description="How many steps were taken: all of them.")


@handler("countdown", timeout=MAX_COUNTDOWN + timedelta(hours=1))
async def countdown(work: Countdown, task: TaskContext) -> CountdownOutput:
    """Take one step after another and report each; long ones are best watched, or cancelled on the way."""
    for step in range(1, work.steps + 1):
        await asyncio.sleep(work.step_seconds)
        task.progress(step / work.steps, f"{step} of {work.steps}")
    return CountdownOutput(steps=work.steps)
