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

    async def get(self, location: str) -> bytes:
        """The document there. Raises NotFound where there is none (any more)."""
        ...

    async def url(self, location: str, valid_for: timedelta) -> str:
        """Where anybody may fetch the document, until `valid_for` has passed."""
        ...

    async def forget(self, task_ids: Collection[UUID]) -> None:
        """Delete all documents of these tasks, those of lost attempts too."""
        ...

    async def drop(self, location: str) -> None:
        """Delete one document: its attempt turned out to be lost."""
        ...
