"""A worker: slots, the intake that fills them, and a drain at the end.

Invariant: no message waits here for a slot, so none burns its visibility; the grace of what runs counts from
the stop, whatever polls are open then; and what has an outcome is acknowledged before the worker ends.
"""

import asyncio
import contextlib
import logging
from datetime import timedelta

from consumer.courtesy import Courtesy
from consumer.executor import Executor
from consumer.intake import Intake
from consumer.slots import Slots
from consumer.watermark import Watermarks
from taskql.upkeep.pace import repeating

LOOK_EVERY = timedelta(milliseconds=500)
"""How soon a running handler learns that its task was cancelled."""

RELEASE = timedelta(seconds=8)
"""How long giving back and the last acknowledgements may take at the end of a drain. What is not given back
by then is rescued; what is not acknowledged comes again, and finds nothing to do.
"""

log = logging.getLogger(__name__)


class Worker:
    """Runs up to `concurrency` tasks at a time until it is told to stop."""

    def __init__(
        self,
        receiver: Courtesy,
        executor: Executor,
        watermarks: Watermarks,
        *,
        concurrency: int,
        poll: timedelta,
        grace: timedelta,
    ) -> None:
        self._receiver = receiver
        self._executor = executor
        self._watermarks = watermarks
        self._slots = Slots(concurrency, executor.execute)
        self._poll = poll
        self._grace = grace

    async def run(self, stopping: asyncio.Event, hurry: asyncio.Event) -> None:
        """Work until `stopping` is set, then drain; `hurry` cuts the drain short."""
        intake = Intake(self._receiver, self._slots, self._watermarks, stopping, self._poll)
        async with (
            self._watermarks.kept(),
            repeating("leases", self._executor.stop_lost_attempts, LOOK_EVERY),
        ):
            await intake.run()
            await asyncio.gather(intake.finish(), self._drain(hurry))

    async def _drain(self, hurry: asyncio.Event) -> None:
        """Wait for what runs, up to the grace; then give it back. All that has an outcome is acknowledged."""
        running = self._slots.executions
        if running:
            seconds = self._grace.total_seconds()
            log.info("stopping: waiting up to %g s for %d running tasks", seconds, len(running))
            done = asyncio.gather(*running, return_exceptions=True)
            hurried = asyncio.create_task(hurry.wait())
            await asyncio.wait((done, hurried), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
        if running:
            self._executor.stop_attempts()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELEASE.total_seconds()):
                while running:
                    await asyncio.wait(running)
                await self._receiver.settled()
