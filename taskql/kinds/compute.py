"""Figures of a list of numbers."""

import math

from pydantic import BaseModel, Field

from taskql import Permanent, TaskContext, handler
from taskql.kinds.simulation import SIMULATION_TIMEOUT, SimulateSeconds, simulate


class Compute(BaseModel, allow_inf_nan=False):
    """The numbers to describe."""

    numbers: list[float] = Field(description="Finite numbers in any order; the list may be empty.")
    simulate_seconds: SimulateSeconds = 0


class ComputeOutput(BaseModel):
    """What describes the numbers. Of an empty list: count, sum and average 0, no max and no min."""

    count: int = Field(description="How many numbers there are.")
    sum: float = Field(description="Their sum, rounded only once: [0.1, 0.1, …] ten times gives exactly 1.")
    average: float = Field(description="The sum divided by the count; 0 for an empty list.")
    max: float | None = Field(description="The largest number; null for an empty list.")
    min: float | None = Field(description="The smallest number; null for an empty list.")


@handler("compute", timeout=SIMULATION_TIMEOUT)
async def compute(work: Compute, task: TaskContext) -> ComputeOutput:
    """Count, sum, average, maximum and minimum of a list. Fails at once if no 64-bit float holds the sum."""
    await simulate(work.simulate_seconds, task)
    numbers = work.numbers
    total = exact_sum(numbers)
    return ComputeOutput(
        count=len(numbers),
        sum=total,
        average=total / len(numbers) if numbers else 0,
        max=max(numbers, default=None),
        min=min(numbers, default=None),
    )


def exact_sum(numbers: list[float]) -> float:
    try:
        return math.fsum(numbers)
    except OverflowError:
        raise Permanent("The sum is beyond what a 64-bit float can hold; give smaller numbers.") from None
