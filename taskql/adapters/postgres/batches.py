"""Statements for many: what PostgreSQL refuses of one must not cost the others theirs."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from taskql.errors import Unavailable

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

log = logging.getLogger(__name__)


async def each_for_itself(
    items: Sequence[Item], work: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]]
) -> list[Outcome | Exception]:
    """What `work` makes of the items, one by one where it refuses them together.

    Raises Unavailable for all of them.
    """
    try:
        return [*await work(items)]
    except Unavailable:
        raise
    except Exception as error:
        if len(items) == 1:
            return [error]
        log.warning("%d items were refused (%s): one by one", len(items), type(error).__name__)
    outcomes: list[Outcome | Exception] = []
    for item in items:
        try:
            outcomes += await each_for_itself([item], work)
        except Unavailable as error:  # what is done by now is done; the others can be tried again
            return outcomes + [error] * (len(items) - len(outcomes))
    return outcomes
