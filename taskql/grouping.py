"""Group commit: calls that come while another is on its way go together, as one.

Invariants: a call that comes alone begins at once. Only those wait that find others at work, and no longer
than these take; so a busy process makes few large statements, and an idle one is as quick as ever. No call
waits for ever: what can't be worked on any more, because the loop ends, is cancelled.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Grouped(Generic[Item, Outcome]):
    """Hands items to `work`, many at a time: it answers with an outcome for each, in order.

    `at_once`: so many groups are worked on at a time, of at most `largest` items. An outcome that is an
    Exception is raised to its caller alone; what `work` itself raises, each call of the group raises.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome | Exception]]],
        *,
        at_once: int = 1,
        largest: int = 256,
    ) -> None:
        self._work = work
        self._idle = at_once
        self._is_beginning = False
        self._largest = largest
        self._waiting: list[tuple[Item, asyncio.Future[Outcome]]] = []
        self._loops: set[asyncio.Task[None]] = set()

    def __call__(self, item: Item) -> "asyncio.Future[Outcome]":
        """The item's outcome, in time."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._begin()
        return future

    def _begin(self) -> None:
        """A loop for what waits, unless as many as may be are at work, or one is about to take it."""
        if self._idle and self._waiting and not self._is_beginning:
            self._idle -= 1
            self._is_beginning = True
            # In no caller's context: a group is everybody's.
            self._loops.add(running := asyncio.create_task(self._run(), context=Context()))
            running.add_done_callback(self._loops.discard)

    async def _run(self) -> None:
        self._is_beginning = False
        try:
            while self._waiting:
                group, self._waiting = self._waiting[: self._largest], self._waiting[self._largest :]
                self._begin()
                await self._perform([each for each in group if not each[1].done()])
        except BaseException:
            for _, future in self._waiting:
                future.cancel()
            raise
        finally:
            self._idle += 1

    async def _perform(self, group: Sequence[tuple[Item, "asyncio.Future[Outcome]"]]) -> None:
        if not group:
            return
        outcomes: Sequence[Outcome | Exception]
        try:
            outcomes = await self._work([item for item, _ in group])
            if len(outcomes) != len(group):
                raise AssertionError(f"{len(outcomes)} outcomes for {len(group)} items")
        except Exception as error:
            outcomes = [error] * len(group)
        except BaseException:
            for _, future in group:
                future.cancel()
            raise
        for (_, future), outcome in zip(group, outcomes, strict=True):
            deliver(outcome, future)


def deliver(outcome: Outcome | Exception, future: "asyncio.Future[Outcome]") -> None:
    if future.done():  # its caller has left
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
        future.exception()  # a caller that is cancelled now leaves it behind: nothing to log
    else:
        future.set_result(outcome)
