"""What all tests share: one set of real services, and one deployment on it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from taskql.devstack import DevStack
from tests.deployment import Deployment


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
