"""A handler's function at work: one shape for the loop, a thread and a process of its own.

The process has a module for itself: `consumer.process`.
"""

from typing import Protocol

from taskql.context import TaskContext
from taskql.handler import Handler
from taskql.policy import Policy
from taskql.task import JSON
from taskql.thread import ThreadCall


class Call(Protocol):
    """One call, which begins with `result`. Cancelling `result` stops what can be stopped."""

    async def result(self) -> JSON:
        """What the function returned, as JSON. Raises what it raised."""
        ...

    async def settled(self) -> None:
        """Wait until nothing of the call runs any more, once `result` has ended."""
        ...


class InLoop:
    """A coroutine function, awaited in the worker's loop."""

    def __init__(self, handler: Handler, data: JSON, context: TaskContext, policy: Policy) -> None:
        self._handler = handler
        self._data = data
        self._context = context
        self._policy = policy

    async def result(self) -> JSON:
        arguments = self._handler.arguments(self._data, self._context)
        value = await self._handler.function(*arguments)
        return self._handler.result(value, self._policy.max_result_bytes)

    async def settled(self) -> None:
        """It runs inside `result`, and no longer."""


class InThread:
    """A plain function in a thread, which goes on until it returns: its late result is thrown away."""

    def __init__(self, handler: Handler, data: JSON, context: TaskContext, policy: Policy) -> None:
        self._handler = handler
        self._data = data
        self._context = context
        self._policy = policy
        self._thread: ThreadCall | None = None

    async def result(self) -> JSON:
        arguments = self._handler.arguments(self._data, self._context)
        self._thread = ThreadCall(self._handler.function, *arguments)
        return self._handler.result(await self._thread.result(), self._policy.max_result_bytes)

    async def settled(self) -> None:
        if self._thread is not None:
            await self._thread.ended.wait()
