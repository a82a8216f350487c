"""Writes an attempt's outcome to PostgreSQL and tells whoever watches."""

import asyncio
import logging
import random
from datetime import timedelta
from typing import assert_never

from taskql.errors import LeaseLost, Unavailable
from taskql.outcome import Abandoned, Failed, Outcome, Released, Retry, Succeeded
from taskql.ports import EventSink, LeaseStore
from taskql.task import Lease, TaskEvent

FIRST_PAUSE = timedelta(milliseconds=100)
LONGEST_PAUSE = timedelta(seconds=2)

log = logging.getLogger(__name__)


class Recorder:
    """Fenced by the lease: an outcome that comes too late is thrown away."""

    def __init__(self, leases: LeaseStore, events: EventSink) -> None:
        self._leases = leases
        self._events = events

    async def record(self, lease: Lease, outcome: Outcome, keep_trying: timedelta) -> None:
        """Write the outcome, again and again while PostgreSQL is away, for `keep_trying`.

        Raises Unavailable when that time is over: then the lease has ended, and the rescuer has the task.
        """
        deadline = asyncio.get_running_loop().time() + keep_trying.total_seconds()
        pause = FIRST_PAUSE
        while True:
            try:
                event = await self._write(lease, outcome)
            except LeaseLost as error:
                log.info("an outcome was thrown away: %s", error)
                return
            except Unavailable as error:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                log.warning("an outcome waits: %s", error)
                await asyncio.sleep(pause.total_seconds() * random.uniform(0.5, 1.0))
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                if event is not None:
                    self._events.publish(event)
                return

    async def _write(self, lease: Lease, outcome: Outcome) -> TaskEvent | None:
        match outcome:
            case Succeeded(result, follow_ups):
                return (await self._leases.complete(lease, result, follow_ups=follow_ups)).event
            case Retry(failure, delay):
                return await self._leases.retry(lease, failure, delay)
            case Failed(failure):
                return await self._leases.fail(lease, failure)
            case Released():
                return await self._leases.release(lease)
            case Abandoned():
                return None
            case _:
                assert_never(outcome)
