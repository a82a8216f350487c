"""A worker's claims and successes, by group commit: those that come together go to PostgreSQL together."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from uuid import UUID

from taskql.grouping import Grouped
from taskql.ports import BatchLeaseStore, Claim, Completion, LeaseStore, Revived, Success
from taskql.queues import Queue
from taskql.task import JSON, Failure, Lease, NewTask, Progress, TaskEvent
from taskql.value import value_class

AT_ONCE = 2
"""So many statements of each sort are under way: one that waits for a lock does not hold up everything."""

LARGEST = 100
"""Few enough that their results, of 64 KiB at most each, make no statement that takes long."""


@value_class()
class Wanted:
    """A claim that is asked for."""

    task_id: UUID
    kinds: tuple[str, ...]
    lease_for: timedelta


class GroupedLeases(LeaseStore):
    """LeaseStore over one that takes many at a time."""

    def __init__(self, leases: BatchLeaseStore) -> None:
        self._leases = leases
        self._claims: Grouped[Wanted, Claim] = Grouped(self._claim, at_once=AT_ONCE, largest=LARGEST)
        self._successes: Grouped[Success, Completion] = Grouped(
            leases.complete_many, at_once=AT_ONCE, largest=LARGEST
        )

    async def claim(self, task_id: UUID, kinds: Collection[str], lease_for: timedelta) -> Claim:
        return await self._claims(Wanted(task_id, tuple(kinds), lease_for))

    async def complete(
        self, lease: Lease, result: JSON, location: str | None = None, follow_ups: Sequence[NewTask] = ()
    ) -> Completion:
        if follow_ups:  # they take a transaction of their own
            return await self._leases.complete(lease, result, location, follow_ups)
        return await self._successes(Success(lease, result, location))

    async def _claim(self, wanted: Sequence[Wanted]) -> list[Claim | Exception]:
        """One statement for those of the same worker, which are all of them in practice."""
        claims: list[Claim | Exception] = []
        for (kinds, lease_for), group in groupby(wanted, lambda each: (each.kinds, each.lease_for)):
            ids = [each.task_id for each in group]
            claims += await self._leases.claim_many(ids, kinds, lease_for)
        return claims

    async def extend(self, lease: Lease, lease_for: timedelta) -> None:
        await self._leases.extend(lease, lease_for)

    async def held(self, leases: Collection[Lease]) -> set[Lease]:
        return await self._leases.held(leases)

    async def progress(self, lease: Lease, progress: Progress) -> TaskEvent:
        return await self._leases.progress(lease, progress)

    async def retry(self, lease: Lease, failure: Failure, delay: timedelta) -> TaskEvent:
        return await self._leases.retry(lease, failure, delay)

    async def fail(self, lease: Lease, failure: Failure) -> TaskEvent:
        return await self._leases.fail(lease, failure)

    async def release(self, lease: Lease) -> TaskEvent:
        return await self._leases.release(lease)

    async def redrive(
        self, task_id: UUID, failed_attempt: int, max_attempts: Mapping[str, int]
    ) -> Revived | None:
        return await self._leases.redrive(task_id, failed_attempt, max_attempts)

    async def bury(self, queue: Queue, body: str, reason: str) -> None:
        await self._leases.bury(queue, body, reason)
