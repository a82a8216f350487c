"""How often each owner may ask."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one request found in its owner's bucket, which holds `burst` and gains `per_second`."""

    granted: bool
    remaining: int
    wait_seconds: float
    """Until the next one would be granted; 0 where this one is."""
    full_seconds: float
    """Until the bucket is full again, if nobody takes from it."""
    per_second: float
    burst: int


class RateLimiter(Protocol):
    """A bucket for each owner, shared by all processes."""

    async def take(self, owner: str) -> Allowance | None:
        """Count one request. None where that can't be told, or not at once: nobody is held up by a count."""
        ...
