"""Pretended work: what lets somebody watch a task that would otherwise be done at once."""

import asyncio
import math
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from taskql import TaskContext

MAX_SIMULATED_SECONDS = 3600
MAX_REPORTS = 100
SIMULATION_TIMEOUT = timedelta(seconds=MAX_SIMULATED_SECONDS, minutes=5)
"""A time limit for handlers that simulate: the longest simulation, and time for the real work."""

SimulateSeconds = Annotated[
    float,
    Field(
        ge=0,
        le=MAX_SIMULATED_SECONDS,
        allow_inf_nan=False,
        description="Pretend to work for this long, 0 to 3,600 seconds; progress is reported meanwhile.",
    ),
]


async def simulate(seconds: float, task: TaskContext) -> None:
    """Take `seconds`, with a report about once a second; work of a second or less gives none."""
    steps = min(math.ceil(seconds), MAX_REPORTS)
    for done in range(steps):
        if done:
            task.progress(done / steps, f"{seconds * done / steps:.0f} of {seconds:.0f} seconds")
        await asyncio.sleep(seconds / steps)
