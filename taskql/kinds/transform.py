"""A text in capitals and small letters, measured."""

from pydantic import BaseModel, Field

from taskql import TaskContext, handler
from taskql.kinds.simulation import SIMULATION_TIMEOUT, SimulateSeconds, simulate


class Transform(BaseModel):
    """The text to transform."""

    text: str = Field(description="Any text in any script; it may be empty.")
    simulate_seconds: SimulateSeconds = 0


class TransformOutput(BaseModel):
    """The text's variants and measures."""

    uppercase: str = Field(
        description="By Unicode's rules, so it can be longer than the text: 'ß' becomes 'SS'."
    )
    lowercase: str = Field(description="By Unicode's rules, whatever the language.")
    word_count: int = Field(description="Runs of characters between white space, line breaks included.")
    char_count: int = Field(
        description="Unicode code points, white space included; a composed emoji has several."
    )


@handler("transform", timeout=SIMULATION_TIMEOUT)
async def transform(work: Transform, task: TaskContext) -> TransformOutput:
    """Change a text to upper and to lower case and count its words and characters."""
    await simulate(work.simulate_seconds, task)
    return TransformOutput(
        uppercase=work.text.upper(),
        lowercase=work.text.lower(),
        word_count=len(work.text.split()),
        char_count=len(work.text),
    )
