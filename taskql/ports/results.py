"""Where results are kept that are too large for PostgreSQL."""

from collections.abc import Collection
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from taskql.task import Lease


class ResultStore(Protocol):
    """Documents of results, one for each attempt that had one; a task's row names the one that counts."""

    async def put(self, lease: Lease, document: bytes) -> str:
        """Keep the attempt's document; its location."""
        ...

    async def get(self, location: str, max_bytes: int) -> bytes:
        """The document there. Raises NotFound where there is none, or TooLarge, having read none of it."""
        ...

    async def url(self, location: str, valid_for: timedelta) -> str:
        """Where anybody may fetch the document, until `valid_for` has passed."""
        ...

    async def forget(self, location: str) -> None:
        """Delete the document there, and all others of the same task: those of lost attempts."""
        ...

    async def drop(self, location: str) -> None:
        """Delete one document: its attempt turned out to be lost."""
        ...

    async def ping(self) -> None: ...


class DiscardedResults(Protocol):
    """The locations of results whose tasks are gone. Any number of processes may share the work."""

    async def reserve(self, limit: int) -> dict[UUID, str]:
        """Some of them by their tasks, reserved for the caller for some time, the longest gone first."""
        ...

    async def remove(self, task_ids: Collection[UUID]) -> None:
        """Their documents are gone too."""
        ...
