"""What runs at a time, and room for more."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from taskql.ports import Message

log = logging.getLogger(__name__)


class Slots:
    """Room for `count` executions. A slot is taken until its execution has ended for good."""

    def __init__(self, count: int, execute: Callable[[Message], Awaitable[None]]) -> None:
        self.count = count
        self._execute = execute
        self._freed: Callable[[], None] = lambda: None
        self.executions: set[asyncio.Task[None]] = set()

    @property
    def free(self) -> int:
        return self.count - len(self.executions)

    def when_freed(self, call: Callable[[], None]) -> None:
        """Have this called whenever a slot becomes free."""
        self._freed = call

    def start(self, message: Message) -> None:
        execution = asyncio.create_task(self._run(message))
        self.executions.add(execution)
        execution.add_done_callback(self._ended)

    async def _run(self, message: Message) -> None:
        try:
            await self._execute(message)
        except Exception:
            # The message comes again after its visibility time-out, the lease is rescued.
            log.exception("a message could not be dealt with")

    def _ended(self, execution: "asyncio.Task[None]") -> None:
        self.executions.discard(execution)
        self._freed()
