"""Nothing is lost and nothing ends twice, whatever breaks. `make faults SEEDS=20` is the same for longer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from taskql.devstack import DevStack
from tests.faults.trial import trial

SEEDS = (1, 2)
TASKS = 150
RAGE_SECONDS = 9.0


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[DevStack]:
    with DevStack(data=tmp_path / "stack", say=lambda _: None) as stack:
        yield stack


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_promise_is_kept_while_everything_breaks(
    own_stack: DevStack, tmp_path: Path, seed: int
) -> None:
    report = await trial(own_stack, tmp_path, seed, TASKS, RAGE_SECONDS)
    assert report.violations == []
    assert report.tasks == TASKS
    assert report.faults.total() >= 10, report.faults
