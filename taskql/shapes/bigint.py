"""Integers beyond 32 bits, which travel to clients as text: a GraphQL Int has no room for them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

MAX_INT = 2**31 - 1
MIN_INT = -(2**31)
BOUNDS = ("ge", "gt", "le", "lt")


@dataclass(frozen=True)
class Wide:
    """Marks an int that may be of any size."""


BigInt = Annotated[int, Wide()]
"""An int of any size: the scalar BigInt for clients, who read and write it as a string."""


def is_wide(metadata: Iterable[Any], default: Any) -> bool:
    """Whether an int's mark, a bound of it, or its default asks for more than 32 bits."""
    return is_beyond(default) or any(
        isinstance(mark, Wide)
        or any(is_beyond(getattr(mark, bound, None)) for bound in BOUNDS)
        or is_wide(getattr(mark, "metadata", ()), None)
        for mark in metadata
    )


def is_beyond(number: Any) -> bool:
    return isinstance(number, int) and not MIN_INT <= number <= MAX_INT
