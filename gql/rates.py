"""Requests of an owner over time: what a client sees of it."""

from math import ceil

from starlette.types import Message, Scope, Send

from gql.errors import RateLimited
from taskql.ports import Allowance, RateLimiter

ALLOWANCE = "taskql.allowance"
"""Where a request's scope keeps what it found."""

Headers = list[tuple[bytes, bytes]]


async def too_many_requests(rates: RateLimiter | None, owner: str) -> RateLimited | None:
    """Count one more request of the owner; the error of it where that is one too many."""
    allowance = None if rates is None else await rates.take(owner)
    return None if allowance is None or allowance.granted else refusal(allowance)


def refusal(allowance: Allowance) -> RateLimited:
    return RateLimited(
        f"You may send {allowance.per_second:g} requests a second, and {allowance.burst:,} at once; this was "
        f"one too many. Wait for {allowance.wait_seconds:.3g} s.",
        retryable=True,
        retryAfter=round(allowance.wait_seconds, 3),
    )


def rate_headers(allowance: Allowance) -> Headers:
    """As the IETF's draft has them: how many requests in how many seconds, and how many are left."""
    window = ceil(allowance.burst / allowance.per_second)
    return [
        (b"ratelimit-policy", f'"owner";q={allowance.burst};w={window}'.encode()),
        (b"ratelimit", f'"owner";r={allowance.remaining};t={ceil(allowance.full_seconds)}'.encode()),
    ]


async def count_request(rates: RateLimiter, owner: str, scope: Scope) -> None:
    """Count a request over HTTP, for its answer's headers too. Raises RateLimited if it is one too many."""
    allowance = await rates.take(owner)
    if allowance is not None:
        scope[ALLOWANCE] = allowance
        if not allowance.granted:
            raise refusal(allowance)


def with_rate(scope: Scope, send: Send) -> Send:
    """Tells the client in the answer's headers what is left, if that is known."""
    allowance = scope.get(ALLOWANCE)
    if allowance is None:
        return send
    more = rate_headers(allowance)

    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return send_more
