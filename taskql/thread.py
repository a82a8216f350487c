"""A plain function's call in a thread of its own.

A thread can't be killed: whoever stops waiting for the result can still learn when the call has ended. The
threads are daemons, so that one that never returns can't hold up the end of the process.
"""

import asyncio
import contextvars
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any


class ThreadCall:
    """A call that has begun."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] = self._loop.create_future()
        context = contextvars.copy_context()
        Thread(target=self._run, args=(context, function, arguments), daemon=True).start()

    async def result(self) -> Any:
        """What the function returned or raised."""
        return await self._future

    def _run(
        self, context: contextvars.Context, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> None:
        value: Any = None
        error: BaseException | None = None
        try:
            value = context.run(function, *arguments)
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed: the process is ending and nobody waits
            self._loop.call_soon_threadsafe(self._deliver, value, error)

    def _deliver(self, value: Any, error: BaseException | None) -> None:
        self.ended.set()
        if self._future.done():
            return
        if error is None:
            self._future.set_result(value)
        elif isinstance(error, StopIteration):
            self._future.set_exception(RuntimeError("the handler raised StopIteration"))
        else:
            self._future.set_exception(error)
