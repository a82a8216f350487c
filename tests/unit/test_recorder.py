"""How outcomes are recorded, on scripted ports."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest

from consumer import recorder as recorder_module
from consumer.recorder import Recorder
from taskql.errors import LeaseLost, Unavailable
from taskql.outcome import Abandoned, Failed, Outcome, Released, Retry, Succeeded
from taskql.task import Failure, Lease
from tests.unit.scripted import AT_ONCE, AWAY, HOUR, LONGEST_WAIT_SECONDS, NOTHING, Outside


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


@pytest.fixture
def quick_recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "FIRST_PAUSE", NOTHING)


@pytest.mark.parametrize(("outcome", "name"), OUTCOMES, ids=[name for _, name in OUTCOMES])
async def test_each_outcome_is_the_transition_of_its_name_and_is_published(
    outside: Outside, outcome: Outcome, name: str
) -> None:
    lease = Lease(uuid4(), 1)
    await Recorder(outside, outside).record(lease, outcome, keep_trying=HOUR)
    assert [entry[0] for entry in outside.log] == [name, "publish"]
    assert outside.log[0][1] == lease
    assert outside.log[1] == ("publish", lease.task_id)


async def test_an_abandoned_attempt_writes_and_says_nothing(outside: Outside) -> None:
    await Recorder(outside, outside).record(Lease(uuid4(), 1), Abandoned(), keep_trying=HOUR)
    assert outside.log == []


@pytest.mark.parametrize(("outcome", "name"), OUTCOMES, ids=[name for _, name in OUTCOMES])
async def test_an_outcome_is_written_as_soon_as_postgresql_is_back(
    outside: Outside, quick_recorder: None, outcome: Outcome, name: str
) -> None:
    outside.fails(name, *[AWAY] * 5)
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        await Recorder(outside, outside).record(Lease(uuid4(), 1), outcome, keep_trying=HOUR)
    assert [entry[0] for entry in outside.log] == [name] * 6 + ["publish"]


async def test_an_outcome_is_given_up_when_its_lease_must_have_ended(
    outside: Outside, quick_recorder: None
) -> None:
    outside.fails("complete", *[AWAY] * 100_000)
    with pytest.raises(Unavailable):
        async with asyncio.timeout(LONGEST_WAIT_SECONDS):
            await Recorder(outside, outside).record(Lease(uuid4(), 1), Succeeded(None), keep_trying=AT_ONCE)
    assert outside.named("complete")
    assert outside.named("publish") == []


async def test_an_outcome_whose_lease_went_during_an_outage_is_thrown_away(
    outside: Outside, quick_recorder: None
) -> None:
    outside.fails("complete", AWAY, LeaseLost("rescued"))
    await Recorder(outside, outside).record(Lease(uuid4(), 1), Succeeded(None), keep_trying=HOUR)
    assert [entry[0] for entry in outside.log] == ["complete", "complete"]


async def test_an_unexpected_error_is_not_swallowed(outside: Outside) -> None:
    outside.fails("complete", ValueError("a defect of ours"))
    with pytest.raises(ValueError, match="defect"):
        await Recorder(outside, outside).record(Lease(uuid4(), 1), Succeeded(None), keep_trying=HOUR)
