"""Group commit: calls that come while another is on its way go together, as one.

Invariant: a call that comes alone begins at once. Only those wait that find others at work, and no longer
than these take; so a busy process makes few large statements, and an idle one is as quick as ever.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Grouped(Generic[Item, Outcome]):
    """Hands items to `work`, many at a time: it answers with an outcome for each, in order.

    `at_once`: so many groups are worked on at a time, of at most `largest` items. What `work` raises, each
    call of the group raises; so it should answer with outcomes for what only some items are to blame for.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]],
        *,
        at_once: int = 1,
        largest: int = 256,
    ) -> None:
        self._work = work
        self._idle = at_once
        self._largest = largest
        self._waiting: list[tuple[Item, asyncio.Future[Outcome]]] = []
        self._loops: set[asyncio.Task[None]] = set()

    def __call__(self, item: Item) -> "asyncio.Future[Outcome]":
        """The item's outcome, in time."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._idle:
            self._idle -= 1
            loop = asyncio.create_task(self._run())
            self._loops.add(loop)
            loop.add_done_callback(self._loops.discard)
        return future

    async def _run(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
                await self._perform(group)
        finally:
            self._idle += 1

    async def _perform(self, group: Sequence[tuple[Item, "asyncio.Future[Outcome]"]]) -> None:
        wanted = [(item, future) for item, future in group if not future.done()]
        try:
            outcomes = await self._work([item for item, _ in wanted])
        except BaseException as error:
            for _, future in wanted:
                if not future.done():
                    future.set_exception(error) if isinstance(error, Exception) else future.cancel()
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), outcome in zip(wanted, outcomes, strict=True):
            if not future.done():
                future.set_result(outcome)
