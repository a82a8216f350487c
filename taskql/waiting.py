"""Waiting for an event, but not for ever."""

import asyncio
import contextlib


async def wait_for(event: asyncio.Event, seconds: float) -> bool:
    """Wait for the event, but no longer than `seconds`; whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(seconds, 0)):
            await event.wait()
    return event.is_set()
