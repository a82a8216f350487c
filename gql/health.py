"""Whether the process lives, and whether it can serve."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse

PING_WITHIN_SECONDS = 1.0
ESSENTIAL = "postgresql"
"""Without it no request can be answered; the other services may come and go."""

Ping = Callable[[], Awaitable[None]]


class Health:
    """The probes' endpoints. A ping raises when its service is away."""

    def __init__(self, pings: Mapping[str, Ping]) -> None:
        self._pings = pings

    async def live(self, request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> JSONResponse:
        answers = await asyncio.gather(*map(answers_in_time, self._pings.values()))
        services = {
            name: "ok" if answer else "unavailable" for name, answer in zip(self._pings, answers, strict=True)
        }
        ready = services.get(ESSENTIAL) == "ok"
        status = "ready" if ready else "unavailable"
        return JSONResponse({"status": status, **services}, 200 if ready else 503)


async def answers_in_time(ping: Ping) -> bool:
    try:
        async with asyncio.timeout(PING_WITHIN_SECONDS):
            await ping()
    except Exception:
        return False
    return True
