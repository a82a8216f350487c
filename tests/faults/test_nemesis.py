"""Nothing is lost and nothing ends twice, whatever breaks. `make faults SEEDS=20` is the same for longer."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from tests.faults.trial import Report, alone, trial

SEEDS = (1, 2)
# Clients that are cut off amid a handshake leave their sockets to the collector: theirs, not the product's.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
TASKS = 100
RAGE_SECONDS = 9.0
LEAST_FAULTS = 3
"""Each lane of a service breaks it at least once; how much more there is depends on the machine."""

Reports = dict[int, Future[Report]]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reports]:
    """All seeds beside each other: they mostly wait for what they broke."""
    with ThreadPoolExecutor(len(SEEDS)) as pool:
        yield {
            seed: pool.submit(
                alone,
                tmp_path_factory.mktemp(f"seed-{seed}"),
                partial(trial, seed=seed, tasks=TASKS, seconds=RAGE_SECONDS),
            )
            for seed in SEEDS
        }


@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_is_kept_while_everything_breaks(reports: Reports, seed: int) -> None:
    report = reports[seed].result()
    assert report.violations == []
    assert report.asked == TASKS
    assert report.faults.total() >= LEAST_FAULTS, report.faults
