"""The checker tells the product from one with a safeguard taken out; else its silence would prove nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from taskql.devstack import DevStack
from tests.deployment import Deployment
from tests.faults import mutants
from tests.faults.checker import Violation
from tests.faults.mutants import MUTANTS
from tests.faults.scenarios import (
    PROMPT,
    SCENARIOS,
    SETTINGS,
    Scenario,
    Scene,
    redis_comes_back_after_a_watched_task_has_ended,
    redis_dies_before_a_watched_task_ends,
)
from tests.faults.trial import alone, stage

pytestmark = pytest.mark.long

PATIENCE_SECONDS, MUTANTS_PATIENCE_SECONDS = 90.0, 6.0
AT_ONCE = 3
"""They mostly wait, for their processes to start and for what is lost to be missed."""

CAUGHT_BY = {
    "no_fence": "the_outcome_is_the_attempts_own",
    "no_rescuer": "accepted_is_kept",
    "no_resend": "accepted_is_kept",
    "no_dispatch_row": "accepted_is_kept",
    "acknowledge_before_record": "acknowledged_after_it_is_recorded",
    "retry_without_due_check": "no_attempt_begins_before_it_is_due",
    "no_reconcile": "a_watch_completes_once",
    "no_resync": "a_watch_completes_once",
    "snapshot_before_subscribe": "a_watch_completes_once",
    "no_version_check": "what_is_watched_is_what_is_stored",
    "no_dead_letters_sent": "the_dead_letter_queue_holds_the_dead_letters",
    "redrive_without_attempt_check": "another_life_is_asked_for",
    "no_order": "order_is_kept",
    "sent_before_due": "not_before_its_time",
    "expire_started": "expired_only_if_not_started",
    "no_idempotency": "one_task_per_key",
    "follow_ups_apart": "follow_ups_come_with_the_outcome",
}

Play = tuple[Scenario, str | None]
"""A scenario, and the mutant that plays it; None: the product itself, once for all its mutants."""
Plays = dict[Play, Future[list[Violation]]]
WITHOUT = {"snapshot_before_subscribe": "no_reconcile"}
"""What a mutant takes out besides: that alone does no harm in its scene."""
PLAYS: dict[Play, None] = {
    (SCENARIOS[name], each): None for name in SCENARIOS for each in (name, None, WITHOUT.get(name, name))
}

BREAK_SERVICES = {
    redis_dies_before_a_watched_task_ends,
    redis_comes_back_after_a_watched_task_has_ended,
}
"""The scenarios that need services of their own."""


@pytest.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DevStack]:
    with DevStack(data=tmp_path_factory.mktemp("mutants"), say=lambda _: None) as stack:
        async with Deployment(stack, tmp_path_factory.mktemp("first")):
            pass  # it migrates: the databases of all others are copies
        yield stack


@pytest.fixture(scope="module")
def plays(own_stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plays]:
    """The violations in each."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            (scenario, mutant): pool.submit(
                begin, own_stack, tmp_path_factory.mktemp(scenario.__name__), scenario, mutant
            )
            for scenario, mutant in PLAYS
        }
        pool.shutdown(cancel_futures=True)


def begin(stack: DevStack, folder: Path, scenario: Scenario, mutant: str | None) -> list[Violation]:
    """In an event loop of its own: it ends what the play has left, and what blocks it holds up no other."""
    run = partial(play, scenario=scenario, mutant=mutant)
    return alone(folder, run) if scenario in BREAK_SERVICES else asyncio.run(run(stack, folder))


async def play(stack: DevStack, folder: Path, scenario: Scenario, mutant: str | None) -> list[Violation]:
    settings = {**PROMPT, **SETTINGS.get(scenario, {})} | ({mutants.MUTANT: mutant} if mutant else {})
    patience = PATIENCE_SECONDS if mutant is None else MUTANTS_PATIENCE_SECONDS
    async with stage(stack, folder, settings=settings) as here:
        scene = Scene(here, stack, patience)
        await scenario(scene)
        return await scene.check()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(plays: Plays, name: str) -> None:
    found = plays[SCENARIOS[name], name].result()
    assert CAUGHT_BY[name] in {violation.rule for violation in found}, found


@pytest.mark.parametrize("name", MUTANTS)
def test_the_product_itself_ends_the_same_scenario_well(plays: Plays, name: str) -> None:
    assert plays[SCENARIOS[name], None].result() == []


@pytest.mark.parametrize("name", WITHOUT)
def test_a_mutant_is_not_caught_for_what_it_takes_out_besides(plays: Plays, name: str) -> None:
    assert plays[SCENARIOS[name], WITHOUT[name]].result() == []
