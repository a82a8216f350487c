"""Processes that the system tests share: nothing here is broken on purpose by any of them."""

from collections.abc import AsyncIterator

import pytest

from taskql.devstack import DevStack
from tests.deployment import Deployment


@pytest.fixture(scope="session")
async def deployment(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """An API and a consumer."""
    async with Deployment(stack, tmp_path_factory.mktemp("deployment")) as deployment:
        deployment.start_api()
        deployment.start_consumers()
        yield deployment


@pytest.fixture(scope="session")
def api(deployment: Deployment) -> Deployment:
    """The same, for tests that only talk to the API."""
    return deployment
