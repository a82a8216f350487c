"""How the documents of deleted tasks are deleted, on scripted ports."""

import logging
from collections.abc import Collection
from uuid import UUID, uuid4

import pytest

from taskql.errors import Unavailable
from taskql.upkeep.results import BATCH_RESULTS, ResultSweeper
from tests.unit.stub_api import StubResults


class Discarded:
    """Locations of tasks that are gone; what is reserved stays so."""

    def __init__(self, count: int) -> None:
        self.locations = {uuid4(): f"s3://bucket/{n}" for n in range(count)}
        self.reserved: list[UUID] = []
        self.removed: list[UUID] = []

    async def reserve(self, limit: int) -> dict[UUID, str]:
        free = [task_id for task_id in self.locations if task_id not in self.reserved][:limit]
        self.reserved += free
        return {task_id: self.locations[task_id] for task_id in free}

    async def remove(self, task_ids: Collection[UUID]) -> None:
        self.removed += task_ids


class Forgetful(StubResults):
    """Notes what it forgets; some it can't."""

    def __init__(self, *denied: str) -> None:
        super().__init__()
        self.denied = denied
        self.forgotten: list[str] = []

    async def forget(self, location: str) -> None:
        if location in self.denied:
            raise Unavailable(f"{location} is denied")
        self.forgotten.append(location)


@pytest.mark.parametrize("count", [0, 1, BATCH_RESULTS, BATCH_RESULTS + 1, 3 * BATCH_RESULTS])
async def test_all_documents_are_forgotten_and_then_their_rows_removed(count: int) -> None:
    discarded, results = Discarded(count), Forgetful()
    await ResultSweeper(discarded, results).step()
    assert results.forgotten == list(discarded.locations.values())
    assert discarded.removed == list(discarded.locations)


async def test_one_that_can_not_be_deleted_stays_and_holds_up_no_other() -> None:
    discarded = Discarded(5)
    with pytest.raises(Unavailable, match="bucket/3 is denied"):
        await ResultSweeper(discarded, Forgetful("s3://bucket/3")).step()
    [stays] = set(discarded.locations) - set(discarded.removed)
    assert discarded.locations[stays] == "s3://bucket/3"


async def test_without_a_store_all_stay_which_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    discarded = Discarded(30)
    sweeper = ResultSweeper(discarded, None)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await sweeper.step()
    assert discarded.removed == []
    assert [record.message for record in caplog.records if "RESULTS_BUCKET" in record.message] == [
        "results of deleted tasks stay in their bucket: RESULTS_BUCKET is not set here"
    ]


async def test_without_a_store_nothing_is_said_while_nothing_waits(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await ResultSweeper(Discarded(0), None).step()
    assert caplog.records == []
