"""What is stored and will meet the handlers of the next deployment. Reads only, and never all at once."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from taskql.task import JSON


@dataclass(frozen=True, slots=True)
class Stored:
    """One task's input, or its result."""

    id: UUID
    kind: str
    value: JSON


class Backlog(Protocol):
    async def waiting(self) -> int:
        """How many tasks are not terminal."""
        ...

    def inputs(self) -> AsyncIterator[Sequence[Stored]]:
        """The inputs of all of these, batch by batch."""
        ...

    def newest_results(self, kinds: Collection[str]) -> AsyncIterator[Sequence[Stored]]:
        """Results in PostgreSQL of a bounded number of the newest tasks, of those `kinds`, newest first.

        `kinds` is read before each batch: what is left out of it meanwhile is no longer asked for.
        """
        ...
