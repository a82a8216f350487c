"""The relay sends what PostgreSQL says is to be sent: at once what this process has just stored, and by a
sweep what has become due, what has become the first of its order, what a crashed process left, and what
waited while SQS was away.

Invariant: a row counts as sent only after SQS accepted its message; a crash in between sends it twice. What
this process has stored is marked a little later: most of it is claimed by then, and no claim waits for that.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from datetime import timedelta

from taskql.errors import Unavailable
from taskql.grouping import Grouped
from taskql.ports import SQS_MAX_BATCH, Dispatch, DispatchStore, MessageSender
from taskql.queues import Queue
from taskql.upkeep.pace import Backoff, repeating
from taskql.waiting import wait_for

SWEEP_EVERY = timedelta(milliseconds=500)
UNBLOCK_EVERY = timedelta(seconds=1)
"""For all groups; `wake` is told of those where something happens in this process."""
MARK_AFTER = timedelta(milliseconds=50)
"""What this process has stored; what a sweep found is marked at once, before the next sweep."""
LAST_MARKS = timedelta(seconds=2)
"""How long a process that ends may take over them; what it does not mark is sent again."""
SWEEP_ROWS = 500
PARALLEL_SENDS = 8
MAX_OFFERED = 10_000

Then = Callable[[Sequence[Dispatch]], Awaitable[None]]
"""What becomes of those that SQS accepted."""


class Relay:
    """Sends tasks to their queues."""

    def __init__(self, store: DispatchStore, sender: MessageSender) -> None:
        self._store = store
        self._sender = sender
        self._offered: list[Dispatch] = []
        self._stirred: set[str] = set()
        self._next_sweep = 0.0
        self._awake = asyncio.Event()
        self._sends = asyncio.Semaphore(PARALLEL_SENDS)
        self._marks = Grouped(self._mark_sent)
        self._accepted: list[Dispatch] = []
        self._has_accepted = asyncio.Event()

    def offer(self, dispatches: Sequence[Dispatch]) -> None:
        """Send these soon: they are stored and reserved for this process. Never blocks.

        What is too much to remember is left to the sweep, once its reservation ends.
        """
        room = MAX_OFFERED - len(self._offered)
        self._offered.extend(dispatches[:room])
        self._awake.set()

    def wake(self, groups: Collection[str] = ()) -> None:
        """Sweep at once: something has become due; in these ordering groups a task has come or gone."""
        self._stirred.update(groups)
        self._next_sweep = 0.0
        self._awake.set()

    async def run(self) -> None:
        """Relay until cancelled."""
        try:
            async with repeating("marks", self._mark_later, timedelta(0)):
                await self._relay()
        finally:
            with suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(LAST_MARKS.total_seconds()):
                    await self._mark_accepted()

    async def _relay(self) -> None:
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        next_look = 0.0
        while True:
            await wait_for(self._awake, self._next_sweep - loop.time())
            try:
                await self._send_offered()
                if loop.time() >= self._next_sweep:
                    self._next_sweep = loop.time() + SWEEP_EVERY.total_seconds()
                    if loop.time() >= next_look:
                        next_look = loop.time() + UNBLOCK_EVERY.total_seconds()
                        await self._store.unblock()
                    await self.sweep()
                backoff.reset()
            except Exception as error:
                # What was reserved stays in PostgreSQL and is swept once SQS is back.
                self._offered.clear()
                await backoff.pause("relay", error)
                self._next_sweep = next_look = 0.0

    async def sweep(self) -> None:
        """Send all that is due and that nobody is sending."""
        if self._stirred:
            stirred, self._stirred = self._stirred, set()
            await self._store.unblock(stirred)
        while due := await self._store.reserve_due(SWEEP_ROWS):
            await self._send(due, self._marks)
            if len(due) < SWEEP_ROWS:
                return

    async def _send_offered(self) -> None:
        """Send what is offered by now. What comes meanwhile waits, or a busy process would never sweep."""
        self._awake.clear()
        offered, self._offered = self._offered, []
        for start in range(0, len(offered), SWEEP_ROWS):
            await self._send(offered[start : start + SWEEP_ROWS], self._note_accepted)

    async def _send(self, dispatches: Sequence[Dispatch], then: Then) -> None:
        """Send in batches, several at a time. Raises Unavailable if any batch found SQS away."""
        sends = (self._send_batch(batch, then) for batch in batches(dispatches))
        results = await asyncio.gather(*sends, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _send_batch(self, batch: Sequence[Dispatch], then: Then) -> None:
        async with self._sends:
            accepted = await self._sender.send(batch)
        if accepted:
            await then(accepted)

    async def _note_accepted(self, accepted: Sequence[Dispatch]) -> None:
        self._accepted.extend(accepted)
        self._has_accepted.set()

    async def _mark_later(self) -> None:
        await self._has_accepted.wait()
        await asyncio.sleep(MARK_AFTER.total_seconds())
        await self._mark_accepted()

    async def _mark_accepted(self) -> None:
        """What can't be marked now is sent again when its reservation ends."""
        self._has_accepted.clear()
        accepted, self._accepted = self._accepted, []
        if accepted:
            await self._store.mark_sent(accepted)

    async def _mark_sent(self, accepted: Sequence[Sequence[Dispatch]]) -> Sequence[None]:
        """One statement for the batches that SQS accepted about the same time."""
        await self._store.mark_sent([dispatch for batch in accepted for dispatch in batch])
        return [None] * len(accepted)


def batches(dispatches: Sequence[Dispatch]) -> list[Sequence[Dispatch]]:
    """As few batches as SQS allows, each for one queue."""
    by_queue: dict[Queue, list[Dispatch]] = defaultdict(list)
    for dispatch in dispatches:
        by_queue[dispatch.queue].append(dispatch)
    return [
        group[start : start + SQS_MAX_BATCH]
        for group in by_queue.values()
        for start in range(0, len(group), SQS_MAX_BATCH)
    ]
