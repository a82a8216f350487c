"""What a handler is given besides its input."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from taskql.storable import storable
from taskql.task import Progress

MAX_PROGRESS_MESSAGE_CHARS = 500


@dataclass(frozen=True, slots=True)
class TaskContext:
    """The running attempt as its handler sees it. All of it may be used from a thread."""

    id: UUID
    attempt: int
    title: str
    description: str | None
    _report: Callable[[Progress], None]
    _is_cancelled: Callable[[], bool]

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the result any more: the task was cancelled or the lease is lost."""
        return self._is_cancelled()

    def progress(self, fraction: float, message: str | None = None) -> None:
        """Show watchers how far the task is: `fraction` from 0 to 1, `message` up to 500 characters.

        What exceeds these is cut. Returns at once. Watchers see at most four reports a second, the last
        one always.
        """
        if not math.isfinite(fraction):
            raise ValueError("progress() takes a finite fraction from 0 to 1")
        text = storable(message)[:MAX_PROGRESS_MESSAGE_CHARS] if message else None
        self._report(Progress(min(max(float(fraction), 0.0), 1.0), text))
