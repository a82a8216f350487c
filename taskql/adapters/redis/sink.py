"""Publishes events, and writes snapshots, without ever making anybody wait.

Invariant: `publish` only appends to a bounded buffer; a background loop does the rest and drops what Redis
does not take in one bounded try. Watchers find what was lost in PostgreSQL.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import UUID

from taskql.adapters.redis import snapshot
from taskql.adapters.redis.codec import channel, encode, encode_rest, owner_channel
from taskql.adapters.redis.connections import LIMIT_SECONDS, OUTAGE, account
from taskql.adapters.redis.nodes import Command, Nodes, publication
from taskql.adapters.redis.pipe import errors_in
from taskql.task import Task, TaskEvent
from taskql.waiting import wait_for

logger = logging.getLogger(__name__)

BUFFERED_EVENTS = 10_000
BATCH_EVENTS = 500
BATCH_BYTES = 1_048_576
"""A batch ends with the event that reaches this."""


class Entry(NamedTuple):
    """A piece of news, or what was `read` from PostgreSQL, or the id of a task that is no more."""

    task_id: UUID
    event: TaskEvent | None
    read: bool = False


class RedisEventSink:
    """EventSink over PUBLISH, from `async with` on; with `snapshots`, it writes those too."""

    def __init__(self, url: str, *, snapshots: bool = False) -> None:
        self._nodes = Nodes(url, snapshot.SCRIPT if snapshots else None)
        self._snapshots = snapshots
        # When it is full the oldest entry gives way: newer ones say more.
        self._buffer: deque[Entry] = deque()
        self._unwritten: dict[UUID, int] = {}
        self._wake = asyncio.Event()
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._closing = False
        self._away = False
        self._refused = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.create_task(self._run(), name="redis event sink")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def publish(self, event: TaskEvent) -> None:
        self._append(Entry(event.id, event))

    def forget(self, task_id: UUID) -> None:
        if self._snapshots:
            self._append(Entry(task_id, None))

    def keep(self, task: Task) -> None:
        """Write a snapshot of what was read, unless there is much to do already."""
        if self._snapshots and len(self._buffer) < BATCH_EVENTS:
            self._append(Entry(task.id, task, read=True))

    def is_unwritten(self, task_id: UUID) -> bool:
        """Whether the cache does not know yet what this process has told of the task."""
        return task_id in self._unwritten

    async def flush(self) -> None:
        """Wait until Redis has all that was published, or has missed it; no longer than the usual limit.

        For a process that is about to be frozen.
        """
        await wait_for(self._flushed, LIMIT_SECONDS)

    async def ping(self) -> None:
        """Raises Unavailable unless Redis answers."""
        await self._nodes.ping()

    async def aclose(self) -> None:
        """Publish what is left, as far as that takes no longer than the usual limit."""
        self._closing = True
        self._wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(LIMIT_SECONDS):
                await self._loop
        await self._nodes.aclose()

    # ------------------------------------------------------------ the loop

    def _append(self, entry: Entry) -> None:
        if len(self._buffer) >= BUFFERED_EVENTS:
            self._settle(self._buffer.popleft())
        self._buffer.append(entry)
        if not entry.read:
            self._unwritten[entry.task_id] = self._unwritten.get(entry.task_id, 0) + 1
        self._flushed.clear()
        self._wake.set()

    def _settle(self, entry: Entry) -> None:
        """The entry is written, or lost."""
        if not entry.read:
            others = self._unwritten.pop(entry.task_id) - 1
            if others:
                self._unwritten[entry.task_id] = others

    async def _run(self) -> None:
        while self._buffer or not self._closing:
            await self._wake.wait()
            self._wake.clear()
            while self._buffer:
                batch = Batch(self._snapshots)
                entries = list(self._fill(batch))
                await self._write(batch.commands, len(entries))
                for entry in entries:
                    self._settle(entry)
            self._flushed.set()

    def _fill(self, batch: "Batch") -> Iterator[Entry]:
        for _ in range(min(len(self._buffer), BATCH_EVENTS)):
            entry = self._buffer.popleft()
            yield entry
            try:
                batch.add(entry)
            except Exception:
                logger.exception("An event of task %s can't be published", entry.task_id)
            if batch.bytes >= BATCH_BYTES:
                return

    async def _write(self, commands: Sequence[Command], count: int) -> None:
        """One bounded try; the batch is gone afterwards, whatever happens."""
        try:
            replies = await self._nodes.run(commands) if commands else []
        except OUTAGE as error:
            if not self._away:
                logger.warning("Redis is away: events get lost until it is back (%s)", account(error))
            self._away = True
        except Exception:
            logger.exception("%d events could not be published", count)
        else:
            if self._away:
                logger.info("Redis is back: events are published again")
            self._away = False
            self._note_refusals(replies)

    def _note_refusals(self, replies: Sequence[Any]) -> None:
        refusals = errors_in(replies)
        if refusals and not self._refused:
            logger.warning("Redis refuses what we write, for all or part of it: %s", account(refusals[0]))
        self._refused = bool(refusals)


class Batch:
    """Commands for a number of entries: of each task one snapshot, the newest, then all events in order.

    Snapshots come first, so that whoever hears of an event does not find an older state in the cache.
    """

    def __init__(self, snapshots: bool) -> None:
        self.bytes = 0
        self._with_snapshots = snapshots
        self._publications: list[Command] = []
        self._newest: dict[UUID, tuple[TaskEvent, bytes]] = {}
        self._rests: dict[UUID, bytes] = {}
        self._read: set[UUID] = set()
        self._deleted: set[UUID] = set()

    def add(self, entry: Entry) -> None:
        event = entry.event
        if event is None:
            self._deleted.add(entry.task_id)
            return
        data = encode(event)
        self.bytes += len(data)
        if entry.read:
            self._read.add(event.id)
        else:
            self._publications += (
                publication(channel(event.id), data),
                publication(owner_channel(event.owner), data),
            )
        if self._with_snapshots:
            known = self._newest.get(event.id)
            if known is None or known[0].version < event.version:
                self._newest[event.id] = (event, data)
            if isinstance(event, Task):
                rest = self._rests[event.id] = encode_rest(event)
                self.bytes += len(rest)

    @property
    def commands(self) -> list[Command]:
        writes = [self._write(task_id) for task_id in self._newest if task_id not in self._deleted]
        return [*writes, *map(snapshot.removal, self._deleted), *self._publications]

    def _write(self, task_id: UUID) -> Command:
        event, data = self._newest[task_id]
        rest = self._rests.get(task_id, b"")
        if event.version == snapshot.FIRST_VERSION and task_id not in self._read:
            return snapshot.first(event, data, rest)
        return snapshot.write(event, data, rest)
