"""Retention forgets terminal tasks and dead letters that are older than their owner wants to keep."""

import asyncio
from datetime import timedelta

from taskql.ports import DispatchStore

BATCH_ROWS = 500
PAUSE = timedelta(milliseconds=100)
"""Between batches, so that clean-up never crowds out work."""


class Retention:
    """Small batches; any number of processes may share the work."""

    def __init__(self, store: DispatchStore, age: timedelta) -> None:
        self._store = store
        self._age = age

    async def step(self) -> None:
        while await self._store.forget_older(self._age, BATCH_ROWS) == BATCH_ROWS:
            await asyncio.sleep(PAUSE.total_seconds())
