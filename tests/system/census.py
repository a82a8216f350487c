"""Offers no handler: an API that imports it tells at SIGUSR1 how many asyncio tasks run."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator

from taskql import lifespan

TELL = signal.SIGUSR1
TOLD = "asyncio tasks: "


def tell(*_: object) -> None:
    sys.stderr.write(f"{TOLD}{len(asyncio.all_tasks())}\n")
    sys.stderr.flush()


signal.signal(TELL, tell)


class Nothing:
    """What no handler asks for."""


@lifespan
async def nothing() -> AsyncIterator[Nothing]:
    """A module that offers nothing would be refused."""
    yield Nothing()
