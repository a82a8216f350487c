"""How outcomes are recorded, on scripted ports."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from consumer import patience, recorder
from consumer.recorder import Recorder
from taskql.errors import LeaseLost, NotFound, Unavailable
from taskql.outcome import Abandoned, Failed, Outcome, Released, Retry, Succeeded
from taskql.policy import MAX_STORED_RESULT_BYTES
from taskql.ports import Claimed
from taskql.task import Failure, Lease
from tests.unit.scripted import AT_ONCE, AWAY, HOUR, LONGEST_WAIT_SECONDS, NOTHING, Outside, a_task


@pytest.fixture
def outside() -> Outside:
    return Outside()


FAILURE = Failure("EXCEPTION", "The handler raised ValueError.", retryable=True)
OUTCOMES: Sequence[tuple[Outcome, str]] = [
    (Succeeded({"x": 1}), "complete"),
    (Retry(FAILURE, HOUR), "retry"),
    (Failed(FAILURE), "fail"),
    (Released(), "release"),
]
LARGE = {"text": "ä" * MAX_STORED_RESULT_BYTES}
LARGEST_IN_A_ROW = "x" * (MAX_STORED_RESULT_BYTES - 2)
LOCATION = "s3://bucket/key"


class ScriptedResults:
    """A ResultStore that notes what is asked of it beside what is asked of the others."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self.documents: list[Any] = []

    async def put(self, lease: Lease, document: bytes) -> str:
        self._outside.note("put", lease)
        self.documents.append(json.loads(document))
        return LOCATION

    async def get(self, location: str, max_bytes: int) -> bytes:
        raise NotFound(location)

    async def url(self, location: str, valid_for: timedelta) -> str:
        return location

    async def forget(self, location: str) -> None: ...

    async def drop(self, location: str) -> None:
        self._outside.note("drop", location)

    async def ping(self) -> None: ...


@pytest.fixture
def results(outside: Outside) -> ScriptedResults:
    return ScriptedResults(outside)


def claimed(**fields: Any) -> Claimed:
    task_id = uuid4()
    return Claimed(Lease(task_id, 1), a_task(task_id, **fields))


def names(outside: Outside) -> list[str]:
    return [entry[0] for entry in outside.log]


@pytest.fixture
def quick_recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE", NOTHING)


@pytest.mark.parametrize(("outcome", "name"), OUTCOMES, ids=[name for _, name in OUTCOMES])
async def test_each_outcome_is_the_transition_of_its_name_and_is_published(
    outside: Outside, outcome: Outcome, name: str
) -> None:
    claim = claimed()
    await Recorder(outside, outside).record(claim, outcome, keep_trying=HOUR)
    assert names(outside) == [name, "publish"]
    assert outside.log[0][1] == claim.lease
    assert outside.log[1] == ("publish", claim.lease.task_id)


async def test_an_abandoned_attempt_writes_and_says_nothing(outside: Outside) -> None:
    await Recorder(outside, outside).record(claimed(), Abandoned(), keep_trying=HOUR)
    assert outside.log == []


@pytest.mark.parametrize(("outcome", "name"), OUTCOMES, ids=[name for _, name in OUTCOMES])
async def test_an_outcome_is_written_as_soon_as_postgresql_is_back(
    outside: Outside, quick_recorder: None, outcome: Outcome, name: str
) -> None:
    outside.fails(name, *[AWAY] * 5)
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await Recorder(outside, outside).record(claimed(), outcome, keep_trying=HOUR)
    assert names(outside) == [name] * 6 + ["publish"]


async def test_an_outcome_is_given_up_when_its_lease_must_have_ended(
    outside: Outside, quick_recorder: None
) -> None:
    outside.fails("complete", *[AWAY] * 100_000)
    with pytest.raises(Unavailable):
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            await Recorder(outside, outside).record(claimed(), Succeeded(None), keep_trying=AT_ONCE)
    assert outside.named("complete")
    assert outside.named("publish") == []


async def test_an_outcome_whose_lease_went_during_an_outage_is_thrown_away(
    outside: Outside, quick_recorder: None
) -> None:
    outside.fails("complete", AWAY, LeaseLost("rescued"))
    await Recorder(outside, outside).record(claimed(), Succeeded(None), keep_trying=HOUR)
    assert names(outside) == ["complete", "complete"]


async def test_an_unexpected_error_is_not_swallowed(outside: Outside) -> None:
    outside.fails("complete", ValueError("a defect of ours"))
    with pytest.raises(ValueError, match="defect"):
        await Recorder(outside, outside).record(claimed(), Succeeded(None), keep_trying=HOUR)


# ---------------------------------------------------------------- large results


async def test_a_large_result_is_put_before_its_task_is_completed_without_it(
    outside: Outside, results: ScriptedResults
) -> None:
    claim = claimed()
    await Recorder(outside, outside, results).record(claim, Succeeded(LARGE), keep_trying=HOUR)
    assert names(outside) == ["put", "complete", "publish"]
    assert outside.named("put", "complete") == [
        ("put", claim.lease),
        ("complete", claim.lease, None, LOCATION),
    ]


async def test_the_document_says_what_was_asked_what_came_of_it_and_when(
    outside: Outside, results: ScriptedResults
) -> None:
    await Recorder(outside, outside, results).record(
        claimed(kind="count"), Succeeded(LARGE), keep_trying=HOUR
    )
    [document] = results.documents
    assert set(document) == {"kind", "input", "result", "processedAt"}
    assert (document["kind"], document["input"], document["result"]) == ("count", {}, LARGE)
    assert document["processedAt"].endswith("Z")


@pytest.mark.parametrize(
    ("result", "max_row_bytes", "is_put"),
    [
        (LARGEST_IN_A_ROW, MAX_STORED_RESULT_BYTES, False),
        (LARGEST_IN_A_ROW + "x", MAX_STORED_RESULT_BYTES, True),
        (None, MAX_STORED_RESULT_BYTES, False),
        (None, 0, True),
        ({"x": 1}, 0, True),
    ],
    ids=["just fits", "one byte more", "nothing", "nothing, of all", "all"],
)
async def test_a_result_goes_where_its_size_and_the_deployment_say(
    outside: Outside, results: ScriptedResults, result: Any, max_row_bytes: int, is_put: bool
) -> None:
    writer = Recorder(outside, outside, results, max_row_bytes)
    await writer.record(claimed(), Succeeded(result), keep_trying=HOUR)
    assert bool(outside.named("put")) is is_put
    [(_, _, stored, location)] = outside.named("complete")
    assert (stored, location) == ((None, LOCATION) if is_put else (result, None))


async def test_without_a_store_every_result_goes_into_its_row(outside: Outside) -> None:
    await Recorder(outside, outside).record(claimed(), Succeeded(LARGE), keep_trying=HOUR)
    [(_, _, stored, location)] = outside.named("complete")
    assert (stored, location) == (LARGE, None)


async def test_a_large_result_waits_for_both_services_and_is_put_once(
    outside: Outside, results: ScriptedResults, quick_recorder: None
) -> None:
    outside.fails("put", *[AWAY] * 3)
    outside.fails("complete", *[AWAY] * 2)
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await Recorder(outside, outside, results).record(claimed(), Succeeded(LARGE), keep_trying=HOUR)
    assert names(outside) == ["put"] * 4 + ["complete"] * 3 + ["publish"]
    assert len(results.documents) == 1


async def test_a_task_is_not_completed_while_its_document_can_not_be_put(
    outside: Outside, results: ScriptedResults, quick_recorder: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "KEEP_TRYING_TO_PUT", AT_ONCE)
    outside.fails("put", *[AWAY] * 100_000)
    with pytest.raises(Unavailable):
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            await Recorder(outside, outside, results).record(claimed(), Succeeded(LARGE), keep_trying=AT_ONCE)
    assert set(names(outside)) == {"put"}


async def test_the_document_of_a_lost_lease_is_dropped(outside: Outside, results: ScriptedResults) -> None:
    outside.fails("complete", LeaseLost("rescued"))
    await Recorder(outside, outside, results).record(claimed(), Succeeded(LARGE), keep_trying=HOUR)
    assert names(outside) == ["put", "complete", "drop"]


async def test_the_document_stays_where_the_task_may_be_completed_with_it(
    outside: Outside, results: ScriptedResults, quick_recorder: None
) -> None:
    """The first answer was lost; that the lease is gone may be the work of that first try."""
    outside.fails("complete", AWAY, LeaseLost("finished"))
    await Recorder(outside, outside, results).record(claimed(), Succeeded(LARGE), keep_trying=HOUR)
    assert names(outside) == ["put", "complete", "complete"]


async def test_a_document_that_can_not_be_dropped_keeps_nobody_from_work(
    outside: Outside, results: ScriptedResults
) -> None:
    outside.fails("complete", LeaseLost("rescued"))
    outside.fails("drop", AWAY)
    await Recorder(outside, outside, results).record(claimed(), Succeeded(LARGE), keep_trying=HOUR)
    assert names(outside) == ["put", "complete", "drop"]
