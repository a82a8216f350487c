"""Writes an attempt's outcome to PostgreSQL and tells whoever watches.

Invariant: what is too large for PostgreSQL is in the result store before the task is COMPLETED.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import assert_never

from consumer.patience import Patience
from taskql.errors import LeaseLost, Unavailable
from taskql.outcome import Abandoned, Failed, Outcome, Released, Retry, Succeeded
from taskql.policy import MAX_STORED_RESULT_BYTES
from taskql.ports import Claimed, Completion, Created, EventSink, LeaseStore, ResultStore
from taskql.storable import json_size
from taskql.task import JSON, Lease, Task

KEEP_TRYING_TO_PUT = timedelta(minutes=15)
"""How long a large result waits for a store that is away. The heartbeat goes on, so that the lease lasts."""

log = logging.getLogger(__name__)


class Recorder:
    """Fenced by the lease: an outcome that comes too late is thrown away.

    Results that are larger than `max_row_bytes` go to the result store, where there is one.
    """

    def __init__(
        self,
        leases: LeaseStore,
        events: EventSink,
        results: ResultStore | None = None,
        max_row_bytes: int = MAX_STORED_RESULT_BYTES,
    ) -> None:
        self._leases = leases
        self._events = events
        self._results = results
        self._max_row_bytes = max_row_bytes

    async def record(self, claimed: Claimed, outcome: Outcome, keep_trying: timedelta) -> Sequence[Created]:
        """Write the outcome, again and again while PostgreSQL is away, for `keep_trying`; what came with it.

        Raises Unavailable when that time is over: then the lease has ended, and the rescuer has the task.
        """
        lease, location = claimed.lease, None
        if isinstance(outcome, Succeeded) and self._results is not None and self._is_large(outcome.result):
            location = await self._put(self._results, claimed, outcome.result)
            outcome = replace(outcome, result=None)
        patience = Patience(keep_trying)
        try:
            completion = await patience.until_done(lambda: self._write(lease, outcome, location))
        except LeaseLost as error:
            log.info("an outcome was thrown away: %s", error)
            # Where it was tried before, it may have been written then: the document would be the task's.
            if self._results is not None and location is not None and not patience.tried:
                await drop(self._results, location)
            return ()
        if completion is None:
            return ()
        self._events.publish(completion.event)
        return completion.created

    def _is_large(self, result: JSON) -> bool:
        return json_size(result) > self._max_row_bytes

    async def _put(self, results: ResultStore, claimed: Claimed, result: JSON) -> str:
        document = document_of(claimed.task, result)
        return await Patience(KEEP_TRYING_TO_PUT).until_done(lambda: results.put(claimed.lease, document))

    async def _write(self, lease: Lease, outcome: Outcome, location: str | None) -> Completion | None:
        match outcome:
            case Succeeded(result, follow_ups):
                return await self._leases.complete(lease, result, location, follow_ups)
            case Retry(failure, delay):
                return Completion(await self._leases.retry(lease, failure, delay))
            case Failed(failure):
                return Completion(await self._leases.fail(lease, failure))
            case Released():
                return Completion(await self._leases.release(lease))
            case Abandoned():
                return None
            case _:
                assert_never(outcome)


def document_of(task: Task, result: JSON) -> bytes:
    """What the result store keeps of an attempt: readable without TaskQL."""
    document = {
        "kind": task.kind,
        "input": task.input,
        "result": result,
        "processedAt": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


async def drop(results: ResultStore, location: str) -> None:
    """Nobody would miss the document, nor find it: what can't be deleted now goes with its task."""
    try:
        await results.drop(location)
    except Unavailable as error:
        log.warning("the document of a lost attempt stays at %s: %s", location, error)
