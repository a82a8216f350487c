"""Deletes the documents of results whose tasks are gone."""

import asyncio
import logging
from uuid import UUID

from taskql.ports import DiscardedResults, ResultStore

BATCH_RESULTS = 20

log = logging.getLogger(__name__)


class ResultSweeper:
    """At least once: a location is removed only after its documents are gone.

    In a deployment that has no result store any more, the locations stay: another process may have one.
    """

    def __init__(self, discarded: DiscardedResults, results: ResultStore | None) -> None:
        self._discarded = discarded
        self._results = results
        self._complained = False

    async def step(self) -> None:
        if self._results is None:
            await self._complain()
            return
        while locations := await self._discarded.reserve(BATCH_RESULTS):
            await self._forget(self._results, locations)
            if len(locations) < BATCH_RESULTS:
                return

    async def _forget(self, results: ResultStore, locations: dict[UUID, str]) -> None:
        """Those that can't be deleted hold up no other; they come again."""
        outcomes = await asyncio.gather(*map(results.forget, locations.values()), return_exceptions=True)
        failures = [outcome for outcome in outcomes if outcome is not None]
        gone = [task_id for task_id, outcome in zip(locations, outcomes, strict=True) if outcome is None]
        await self._discarded.remove(gone)
        if failures:
            raise failures[0]

    async def _complain(self) -> None:
        if not self._complained and await self._discarded.reserve(1):
            self._complained = True
            log.warning("results of deleted tasks stay in their bucket: RESULTS_BUCKET is not set here")
