"""Counts requests: one bucket an owner, in Redis, where all processes find it.

Invariant: nobody waits for a count, and while Redis is away nothing is counted. A bucket is one number, the
moment at which it will be full again; one that is full is not kept.
"""

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

from taskql.adapters.redis.nodes import Command, Nodes
from taskql.adapters.redis.questions import Questions
from taskql.ports import Allowance

logger = logging.getLogger(__name__)

PREFIX = "taskql:bucket:"
SCRIPT = """\
local per_second, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local full_at = math.max(now, tonumber(redis.call('GET', KEYS[1]) or '0'))
local left = burst - (full_at - now) * per_second - 1
if left < -0.000001 then return {0, string.format('%.6f', left + 1), string.format('%.6f', full_at - now)} end
full_at = full_at + 1 / per_second
local seconds = full_at - now
redis.call('SET', KEYS[1], string.format('%.6f', full_at), 'PX', math.ceil(seconds * 1000))
return {1, string.format('%.6f', left), string.format('%.6f', seconds)}
"""
"""By Redis' clock: those of the processes may differ."""
DIGEST = hashlib.sha1(SCRIPT.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Request:
    """One request, which is not the same as another of its owner."""

    owner: str


class RedisBuckets(Questions[Request, Allowance]):
    """RateLimiter, from `async with` on."""

    def __init__(self, url: str, per_second: float, burst: int) -> None:
        super().__init__(Nodes(url, SCRIPT), "buckets", self._count, self._allowance)
        self._per_second = per_second
        self._burst = burst
        self._away = False

    async def take(self, owner: str) -> Allowance | None:
        allowance = await self.ask(Request(owner))
        if (allowance is None) != self._away:
            self._away = allowance is None
            if self._away:
                logger.warning("Redis is away; requests are not counted meanwhile")
            else:
                logger.info("Requests are counted again")
        return allowance

    def _count(self, request: Request) -> Command:
        key = key_of(request.owner)
        return Command(key, ("EVALSHA", DIGEST, 1, key, str(self._per_second), self._burst))

    def _allowance(self, reply: Any) -> Allowance:
        if isinstance(reply, Exception):
            raise reply
        granted, left, full = bool(reply[0]), float(reply[1]), float(reply[2])
        return Allowance(
            granted=granted,
            remaining=max(0, int(left + 0.000_001)),
            wait_seconds=0.0 if granted else (1 - left) / self._per_second,
            full_seconds=full,
            per_second=self._per_second,
            burst=self._burst,
        )


def key_of(owner: str) -> str:
    """Of one length, and without what means something to a cluster, whatever the owner's name."""
    return PREFIX + hashlib.sha256(owner.encode(errors="surrogatepass")).hexdigest()[:32]
