"""Results that are not in PostgreSQL, read when a client asks for them.

Invariant: bounded, whatever a document asks for: so many reads at a time in this process, so many bytes in
one operation.
"""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import timedelta

from taskql.errors import NotFound, TooLarge, Unavailable
from taskql.ports import ResultStore
from taskql.task import JSON

READS_AT_ONCE = 8
MAX_OPERATION_BYTES = 32 * 1024 * 1024
"""Of documents, in one answer or one event; each counts as often as it is shown."""

RESULT_URL_LIFETIME = timedelta(minutes=5)

EXCEEDED = (
    f"The results here are larger than {MAX_OPERATION_BYTES // 1024 // 1024} MiB together; "
    "ask for `resultUrl` instead of `result`, or for fewer tasks."
)


class ResultReader:
    """What all operations of the process share: the store, if there is one, and their turns."""

    def __init__(self, store: ResultStore | None) -> None:
        self._store = store
        self.turns = asyncio.Semaphore(READS_AT_ONCE)

    @property
    def store(self) -> ResultStore:
        """Raises Unavailable where the deployment has none, though it must have had one."""
        if self._store is None:
            raise Unavailable("a result is in S3, and RESULTS_BUCKET is not set")
        return self._store


@dataclass(frozen=True, slots=True)
class Document:
    """What a document holds, and how large it is."""

    result: JSON
    size: int


@dataclass(slots=True, unsafe_hash=True)
class Results:
    """The results as one operation sees them: each is read once. Equal to those of any other operation."""

    reader: ResultReader
    _left: int = field(default_factory=lambda: MAX_OPERATION_BYTES, compare=False)
    _documents: "dict[str, asyncio.Task[Document]]" = field(default_factory=dict, compare=False)

    async def result(self, location: str) -> JSON:
        """The result there. Raises NotFound, TooLarge, or Unavailable."""
        if location in self._documents:
            document = await asyncio.shield(self._documents[location])
            self._spend(document.size)
        else:
            self._documents[location] = asyncio.create_task(self._read(location))
            document = await asyncio.shield(self._documents[location])
        return document.result

    async def url(self, location: str) -> str:
        """Where anybody may fetch the whole document, for some minutes."""
        return await self.reader.store.url(location, RESULT_URL_LIFETIME)

    async def _read(self, location: str) -> Document:
        try:
            async with self.reader.turns:
                if self._left == 0:
                    raise TooLarge(EXCEEDED)
                data = await self.reader.store.get(location, self._left)
        except NotFound:
            raise NotFound("The document with this result is gone from where it was stored.") from None
        except TooLarge:
            raise TooLarge(EXCEEDED) from None
        self._spend(len(data))
        return Document(json.loads(data)["result"], len(data))

    def _spend(self, size: int) -> None:
        if size > self._left:
            raise TooLarge(EXCEEDED)
        self._left -= size
