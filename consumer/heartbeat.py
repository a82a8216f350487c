"""Keeps a message invisible and, once it is claimed, its lease alive.

Invariant: beats from receipt until the block is left; a beat under way is finished, never cut off.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from taskql.errors import LeaseLost, Unavailable
from taskql.ports import LeaseStore, Message, MessageReceiver
from taskql.task import Lease
from taskql.waiting import wait_for

log = logging.getLogger(__name__)


class Heartbeat:
    """The heartbeat of one message."""

    def __init__(
        self,
        leases: LeaseStore,
        receiver: MessageReceiver,
        message: Message,
        lease_for: timedelta,
        every: timedelta,
    ) -> None:
        self._leases = leases
        self._receiver = receiver
        self._message = message
        self._lease_for = lease_for
        self._every = every
        self._lease: Lease | None = None
        self._lost: Callable[[], None] = lambda: None
        self._done = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        # A task costs more than a timer, and most attempts have ended before their first beat.
        self._timer = asyncio.get_running_loop().call_later(self._every.total_seconds(), self._begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.let_go()
        if self._loop is not None:
            await self._loop

    def hold(self, lease: Lease, lost: Callable[[], None]) -> None:
        """Extend this lease too, from now on; `lost` is called when it turns out to be gone."""
        self._lease = lease
        self._lost = lost

    def let_go(self) -> None:
        """Beat no more."""
        self._timer.cancel()
        self._done.set()

    def _begin(self) -> None:
        self._loop = asyncio.create_task(self._beat())

    async def _beat(self) -> None:
        while not self._done.is_set():
            results = await asyncio.gather(
                self._extend_lease(), self._extend_message(), return_exceptions=True
            )
            for error in results:
                if isinstance(error, LeaseLost):
                    self._lost()
                    return
                if isinstance(error, Unavailable):
                    log.warning("a heartbeat was missed: %s", error)
                elif error is not None:
                    log.error("a heartbeat failed", exc_info=error)
            await wait_for(self._done, self._every.total_seconds())

    async def _extend_lease(self) -> None:
        if self._lease is not None:
            await self._leases.extend(self._lease, self._lease_for)

    async def _extend_message(self) -> None:
        await self._receiver.hide(self._message, self._lease_for)
