"""Tries again while a service is away."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from taskql.errors import Unavailable

FIRST_PAUSE = timedelta(milliseconds=100)
LONGEST_PAUSE = timedelta(seconds=2)

T = TypeVar("T")

log = logging.getLogger(__name__)


class Patience:
    """Ends `keep_trying` after it was made, for all that is done with it together.

    `tried` says whether the last thing was tried more than once: an outage may have swallowed the answer to
    what was done.
    """

    def __init__(self, keep_trying: timedelta) -> None:
        self._deadline = asyncio.get_running_loop().time() + keep_trying.total_seconds()
        self.tried = False

    async def until_done(self, step: Callable[[], Awaitable[T]]) -> T:
        """What the step answers. Raises Unavailable when it is still that at the end."""
        self.tried = False
        pause = FIRST_PAUSE
        while True:
            try:
                return await step()
            except Unavailable as error:
                if asyncio.get_running_loop().time() >= self._deadline:
                    raise
                log.warning("an outcome waits: %s", error)
            self.tried = True
            await asyncio.sleep(pause.total_seconds() * random.uniform(0.5, 1.0))
            pause = min(pause * 2, LONGEST_PAUSE)
