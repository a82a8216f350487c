"""How long an invocation of Lambda lasts, and what that leaves for its tasks."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from taskql.handler import Handler
from taskql.registry import Registry

MARGIN = timedelta(seconds=10)
"""How long before its end an invocation gives back what runs: a handler may take 5 s to clean up (`UNWIND`),
then its outcome is written and told."""

LARGEST_MARGIN = 0.1
"""The margin of a function with a short time limit, as a share of that."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """The last moments of an invocation, in the time of its loop.

    At `stop` what runs is given back and nothing begins any more; at `leave` nothing is waited for, not even
    a thread that goes on; by `answer` the last words are said.
    """

    stop: float
    leave: float
    answer: float
    longest: timedelta
    """What a handler has in an invocation that it does not begin too late."""

    @staticmethod
    def after(seconds: float) -> "TimeLimit":
        """The invocation's time is over `seconds` from now."""
        end = asyncio.get_running_loop().time() + seconds
        margin = min(MARGIN.total_seconds(), seconds * LARGEST_MARGIN)
        return TimeLimit(
            stop=end - margin,
            leave=end - 0.4 * margin,
            answer=end - 0.1 * margin,
            longest=timedelta(seconds=max(round(seconds - 2 * margin, 1), 0.1)),  # people read it
        )


def within(registry: Registry, longest: timedelta) -> Registry:
    """The handlers, none of which may run for longer.

    An attempt that runs into the end of the invocation is given back, and so does not count: a task that
    needs more time than the function has would be tried for ever. Cut to what an attempt has that began in
    time, it ends with TIMEOUT, which counts.
    """
    return Registry(
        replace(handler, timeout=longest) if handler.timeout > longest else handler
        for handler in registry.values()
    )


def warn_of_slow(handlers: Iterable[Handler], longest: timedelta) -> None:
    if kinds := ", ".join(handler.kind for handler in handlers if handler.timeout > longest):
        message = "this function's time limit leaves a task %g s: less than handlers ask for (%s)"
        log.warning(message, longest.total_seconds(), kinds)
