"""The checker tells the product from one with a safeguard taken out; else its silence would prove nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskql.devstack import DevStack
from tests.faults import mutants
from tests.faults.checker import Violation
from tests.faults.mutants import MUTANTS
from tests.faults.scenarios import PROMPT, SCENARIOS, Scene
from tests.faults.trial import stage

PATIENCE_SECONDS, MUTANTS_PATIENCE_SECONDS = 30.0, 6.0

CAUGHT_BY = {
    "no_fence": "the_outcome_is_the_attempts_own",
    "no_rescuer": "accepted_is_kept",
    "no_resend": "accepted_is_kept",
    "no_dispatch_row": "accepted_is_kept",
    "acknowledge_before_record": "acknowledged_after_it_is_recorded",
    "retry_without_due_check": "no_attempt_begins_before_it_is_due",
    "no_reconcile": "what_is_watched_is_what_is_stored",
}


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    with DevStack(data=tmp_path_factory.mktemp("mutants"), say=lambda _: None) as stack:
        yield stack


async def play(stack: DevStack, folder: Path, name: str, mutant: str | None) -> list[Violation]:
    """The violations in the scenario that finds the mutant `name`, with it or without any."""
    settings = PROMPT if mutant is None else {**PROMPT, mutants.MUTANT: mutant}
    patience = PATIENCE_SECONDS if mutant is None else MUTANTS_PATIENCE_SECONDS
    async with stage(stack, folder, settings=settings) as here:
        scene = Scene(here, stack, patience)
        await SCENARIOS[name](scene)
        return await scene.check()


async def test_the_product_itself_ends_every_scenario_well(own_stack: DevStack, tmp_path: Path) -> None:
    for name in SCENARIOS:
        (tmp_path / name).mkdir()
    plays = (play(own_stack, tmp_path / name, name, None) for name in SCENARIOS)
    found = dict(zip(SCENARIOS, await asyncio.gather(*plays), strict=True))
    assert found == {name: [] for name in SCENARIOS}


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_mutant_is_caught(own_stack: DevStack, tmp_path: Path, name: str) -> None:
    found = await play(own_stack, tmp_path, name, name)
    assert CAUGHT_BY[name] in {violation.rule for violation in found}, found
