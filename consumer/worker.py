"""The receive loop: slots first, then a long poll for as many messages as there are free slots.

Invariant: no message waits here for a slot, so none burns its visibility; and an open poll is always left to
finish, because a cancelled one can swallow the message that it was about to bring.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from consumer.executor import Executor
from consumer.watermark import Watermark
from taskql.errors import Unavailable
from taskql.ports import SQS_MAX_BATCH, Message, MessageReceiver
from taskql.upkeep.pace import Backoff, repeating

LOOK_EVERY = timedelta(milliseconds=500)
"""How soon a running handler learns that its task was cancelled."""

RELEASE = timedelta(seconds=8)
"""How long giving back may take at the end of a drain; what is not given back by then is rescued."""

log = logging.getLogger(__name__)


class Worker:
    """Runs up to `concurrency` tasks at a time until it is told to stop."""

    def __init__(
        self,
        receiver: MessageReceiver,
        executor: Executor,
        watermark: Watermark,
        *,
        concurrency: int,
        poll: timedelta,
        grace: timedelta,
    ) -> None:
        self._receiver = receiver
        self._executor = executor
        self._watermark = watermark
        self._concurrency = concurrency
        self._poll = poll
        self._grace = grace
        self._executions: set[asyncio.Task[None]] = set()
        self._slot_is_free = asyncio.Event()
        self._backoff = Backoff()

    async def run(self, stopping: asyncio.Event, hurry: asyncio.Event) -> None:
        """Work until `stopping` is set, then drain; `hurry` cuts the drain short."""
        async with (
            self._watermark.kept(),
            repeating("leases", self._executor.stop_lost_attempts, LOOK_EVERY),
        ):
            while not stopping.is_set():
                free = self._concurrency - len(self._executions)
                if free:
                    await self._receive(min(free, SQS_MAX_BATCH), stopping)
                else:
                    await self._wait_for_slot(stopping)
            await self._drain(hurry)

    async def _receive(self, limit: int, stopping: asyncio.Event) -> None:
        asked_at = datetime.now(UTC)
        try:
            messages = await self._receiver.receive(limit, self._poll)
        except Unavailable as error:
            await self._backoff.pause("receive", error)
            return
        self._backoff.reset()
        self._watermark.note(messages, asked_at)
        for message in messages:
            if stopping.is_set():
                await self._give_back(message)
            else:
                self._start(message)

    def _start(self, message: Message) -> None:
        execution = asyncio.create_task(self._executor.execute(message))
        self._executions.add(execution)
        execution.add_done_callback(self._ended)

    def _ended(self, execution: "asyncio.Task[None]") -> None:
        self._executions.discard(execution)
        self._slot_is_free.set()
        if not execution.cancelled() and (error := execution.exception()):
            # The message comes again after its visibility time-out, the lease is rescued.
            log.error("a message could not be dealt with", exc_info=error)

    async def _give_back(self, message: Message) -> None:
        try:
            await self._receiver.hide(message, timedelta(0))
        except Unavailable as error:
            log.warning("a message stays invisible until its time-out: %s", error)

    async def _wait_for_slot(self, stopping: asyncio.Event) -> None:
        self._slot_is_free.clear()
        waits = [asyncio.create_task(event.wait()) for event in (self._slot_is_free, stopping)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _drain(self, hurry: asyncio.Event) -> None:
        """Wait for what runs, up to the grace; then give it back."""
        if self._executions:
            seconds = self._grace.total_seconds()
            log.info("stopping: waiting up to %g s for %d running tasks", seconds, len(self._executions))
            # One that raises is done like any other: it must not end the grace of the rest.
            done = asyncio.gather(*self._executions, return_exceptions=True)
            hurried = asyncio.create_task(hurry.wait())
            await asyncio.wait((done, hurried), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
        if self._executions:
            self._executor.stop_attempts()
            await asyncio.wait(self._executions, timeout=RELEASE.total_seconds())
