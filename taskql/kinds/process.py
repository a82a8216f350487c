"""The default kind: a task that is no more than its title and description."""

from datetime import UTC, datetime

from pydantic import BaseModel, Field

from taskql import TaskContext, handler
from taskql.kinds.simulation import SIMULATION_TIMEOUT, SimulateSeconds, simulate


class Process(BaseModel):
    """Nothing is needed: the work is the task's own title and description."""

    simulate_seconds: SimulateSeconds = 0


class ProcessOutput(BaseModel):
    """A note that the task was processed."""

    message: str = Field(
        description="Names the title, the time (UTC, ISO 8601) and, where there is one, the description."
    )


@handler("process", timeout=SIMULATION_TIMEOUT)
async def process(work: Process, task: TaskContext) -> ProcessOutput:
    """Acknowledge the task with a message. The kind of tasks that are created without `work`."""
    await simulate(work.simulate_seconds, task)
    message = f"Processed task '{task.title}' at {datetime.now(UTC).isoformat(timespec='milliseconds')}"
    if task.description:
        message += f" with description: {task.description}"
    return ProcessOutput(message=message)
