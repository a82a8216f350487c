"""Progress from a handler to its watchers, without slowing the handler.

Invariant: at most one write each `EVERY`, always of the newest report; the last one is written before the
block is left.
"""

import asyncio
import logging
from datetime import timedelta
from types import TracebackType
from typing import Self

from taskql.errors import LeaseLost, Unavailable
from taskql.ports import EventSink, LeaseStore
from taskql.task import Lease, Progress
from taskql.waiting import wait_for

EVERY = timedelta(milliseconds=250)

log = logging.getLogger(__name__)


class ProgressReporter:
    """Writes an attempt's reports as they come."""

    def __init__(self, leases: LeaseStore, events: EventSink, lease: Lease) -> None:
        self._leases = leases
        self._events = events
        self._lease = lease
        self._newest: Progress | None = None
        self._reported = asyncio.Event()
        self._closing = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._reported.set()
        if self._writer is not None:
            await self._writer

    def report(self, progress: Progress) -> None:
        """Take a report, from any thread. Returns at once."""
        self._loop.call_soon_threadsafe(self._take, progress)

    def _take(self, progress: Progress) -> None:
        if self._closing.is_set():
            return
        self._newest = progress
        self._reported.set()
        if self._writer is None:  # most tasks report nothing: they cost no writer
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while not self._closing.is_set() or self._newest is not None:
            await self._reported.wait()
            self._reported.clear()
            if not await self._write_newest():
                return
            await wait_for(self._closing, EVERY.total_seconds())

    async def _write_newest(self) -> bool:
        """Whether the lease still held. A report that meets an outage is dropped: the next one follows."""
        progress, self._newest = self._newest, None
        if progress is None:
            return True
        try:
            self._events.publish(await self._leases.progress(self._lease, progress))
        except LeaseLost:
            return False
        except Unavailable as error:
            log.warning("progress was not written: %s", error)
        except Exception:  # whatever it is, the attempt's outcome matters more
            log.exception("progress was not written")
        return True
