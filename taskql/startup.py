"""How a process of ours starts: it waits for what is still coming, and says in words why it can't go on.

Invariant: what an operator can mend ends in one message on standard error and exit code 1, no traceback.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from taskql.errors import Denied, HandlerRefused, StartupError, Unavailable

LOOK_EVERY_SECONDS = 0.25

Ping = Callable[[], Awaitable[None]]
"""Raises Unavailable while a service is away, and Denied where waiting won't help."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Need:
    """A service without which a process can't start, and the settings that say where it is."""

    service: str
    settings: str
    ping: Ping


@contextmanager
def in_words(what_fails: str) -> Iterator[None]:
    """What keeps us from starting becomes the process's last words."""
    try:
        yield
    except (StartupError, HandlerRefused, Unavailable) as error:
        sys.stderr.write(f"TaskQL: {what_fails}.\n{error}\n")
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # what is torn down now has nothing to add
        sys.exit(1)


async def wait_until_ready(patience: timedelta, *needs: Need) -> None:
    """Wait for services that are still starting. Raises StartupError naming each one that stays away."""
    absences = await asyncio.gather(*(absence(need, patience.total_seconds()) for need in needs))
    if reasons := [reason for reason in absences if reason]:
        raise StartupError("\n".join(reasons))


async def absence(need: Need, patience_seconds: float) -> str | None:
    """Why the service can't be used, once patience is over or waiting is in vain; None as soon as it can."""
    reason = None
    try:
        async with asyncio.timeout(patience_seconds):
            while True:
                try:
                    await need.ping()
                    return None
                except Denied as error:
                    return f"{sentence(error)} Check {need.settings}."
                except Unavailable as error:
                    if reason is None:
                        log.info("waiting up to %g s for %s: %s", patience_seconds, need.service, error)
                    reason = sentence(error)
                await asyncio.sleep(LOOK_EVERY_SECONDS)
    except TimeoutError:
        account = reason or "It does not answer."
        return (
            f"{need.service} could not be reached for {patience_seconds:g} s. {account} "
            f"Start it, or correct {need.settings}."
        )


def sentence(error: Exception) -> str:
    return f"{str(error).rstrip('.')}."
