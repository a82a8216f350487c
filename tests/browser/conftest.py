"""A browser for all tests, and a window of its own, with nothing remembered, for each."""

import os
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from tests.browser.chromium import HOW_TO_GET_IT, find_chromium, open_chromium
from tests.browser.graphiql import GraphiQL
from tests.deployment import Deployment

expect.set_options(timeout=60_000)  # as long as it may take on a busy machine


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    if not find_chromium():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(HOW_TO_GET_IT)
    async with open_chromium() as browser:
        yield browser


@pytest.fixture
async def graphiql(chromium: Browser, deployment: Deployment) -> AsyncIterator[GraphiQL]:
    """GraphiQL, open; it must have nothing to complain about until the end."""
    async with await chromium.new_context(viewport={"width": 1280, "height": 1000}) as context:
        graphiql = GraphiQL(await context.new_page(), deployment.url)
        await graphiql.open()
        yield graphiql
        assert graphiql.complaints == []
