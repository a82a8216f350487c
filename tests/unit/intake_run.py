"""An intake at work on scripted queues."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from consumer.intake import Intake
from consumer.slots import Slots
from consumer.watermark import Watermarks
from taskql.ports import Message
from taskql.queues import Queue
from tests.unit.scripted import HOUR, LONGEST_WAIT_SECONDS, Outside


class Run:
    """An intake at work. What it starts runs until it is let go; in a quick one, only for a moment."""

    def __init__(self, outside: Outside, slots: int, *, is_quick: bool, poll: timedelta) -> None:
        self.outside = outside
        self.is_quick = is_quick
        self.started: list[Message] = []
        self.stopping = asyncio.Event()
        self.slots = Slots(slots, self._execute)
        self._gates: list[asyncio.Event] = []
        self.intake = Intake(outside, self.slots, Watermarks(self._written), self.stopping, poll)
        self.loop = asyncio.create_task(self._run())

    @property
    def queues(self) -> list[Queue]:
        """Whose messages were started, in order."""
        return [message.queue for message in self.started]

    async def until_started(self, count: int) -> None:
        await self.outside.until(lambda: len(self.started) >= count)

    async def free(self, slots: int = 1) -> None:
        """End the oldest executions."""
        going, self._gates = self._gates[:slots], self._gates[slots:]
        free = self.slots.free + len(going)
        for gate in going:
            gate.set()
        while self.slots.free < free:
            await asyncio.sleep(0)

    async def end(self) -> None:
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            await self.loop

    async def _run(self) -> None:
        await self.intake.run()
        await self.intake.finish()

    async def _execute(self, message: Message) -> None:
        self.started.append(message)
        self.outside.changed.set()
        if self.is_quick:
            return await asyncio.sleep(0)
        gate = asyncio.Event()
        self._gates.append(gate)
        await gate.wait()

    async def _written(self, queue: Queue, sent_at: datetime) -> None: ...


@asynccontextmanager
async def an_intake(
    outside: Outside, slots: int, *, is_quick: bool = False, poll: timedelta = HOUR
) -> AsyncIterator[Run]:
    run = Run(outside, slots, is_quick=is_quick, poll=poll)
    try:
        yield run
    finally:
        run.stopping.set()
        while not run.loop.done():
            outside.end_polls()
            await asyncio.sleep(0)
        await run.end()
        await run.free(slots)


async def turns_of_the_loop() -> None:
    """Enough for whatever would happen now."""
    for _ in range(50):
        await asyncio.sleep(0)
