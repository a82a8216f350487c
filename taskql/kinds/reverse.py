"""A text backwards."""

from pydantic import BaseModel, Field

from taskql import TaskContext, handler
from taskql.kinds.simulation import SIMULATION_TIMEOUT, SimulateSeconds, simulate


class Reverse(BaseModel):
    """The text to reverse."""

    input_data: str = Field(description="Any text in any script; it may be empty.")
    simulate_seconds: SimulateSeconds = 0


class ReverseOutput(BaseModel):
    """The text, last character first."""

    output_data: str = Field(
        description="The Unicode code points in reverse order; a combining mark ends up before its letter."
    )


@handler("reverse", timeout=SIMULATION_TIMEOUT)
async def reverse(work: Reverse, task: TaskContext) -> ReverseOutput:
    """Turn a text around: 'hello' becomes 'olleh'."""
    await simulate(work.simulate_seconds, task)
    return ReverseOutput(output_data=work.input_data[::-1])
