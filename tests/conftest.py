"""What all tests share: one set of real services, and one deployment on it."""

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from taskql.devstack import DevStack
from tests.deployment import Deployment

WORKERS = 4
"""Most tests wait for processes, and each worker has services of its own: four keep two cores busy."""


LONG = "long: `make check` runs it, and so does pytest with --all"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run what takes long, too")


def pytest_configure() -> None:
    """A shell's background job ignores Ctrl-C, and so would all processes that tests end by it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A worker runs whole files, so that one file alone needs none besides us."""
    named = {Path(argument.partition("::")[0]) for argument in config.args}
    workers = WORKERS if any(path.is_dir() for path in named) else min(WORKERS, len(named))
    return workers if workers > 1 else 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The files that take longest come first, lest the workers wait for the last one of them."""
    items.sort(key=lambda item: item.path.parent.name in ("contract", "unit"))
    if not config.getoption("--all"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason=LONG))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """PostgreSQL, Valkey and SQS for the whole run; a test that breaks a server starts a stack of its own."""
    with DevStack(data=tmp_path_factory.mktemp("stack"), say=lambda _: None) as stack:
        yield stack


@pytest.fixture(scope="session")
async def deployment(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """An API and a consumer; nothing here is broken on purpose by any test."""
    async with Deployment(stack, tmp_path_factory.mktemp("deployment")) as deployment:
        deployment.start_api()
        deployment.start_consumers()
        yield deployment


@pytest.fixture(scope="session")
def api(deployment: Deployment) -> Deployment:
    """The same, for tests that only talk to the API."""
    return deployment
