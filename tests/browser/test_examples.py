"""The pages in examples/, built and in real Chromium. The scripts there have tests in tests/system."""

import re
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
from playwright.async_api import Browser, expect

from taskql.devstack import DevStack
from tests.browser.countdown import CountdownPage, preview
from tests.deployment import Deployment

TASK_SECONDS = 60


@pytest.fixture(scope="module")
async def behind(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """A deployment of their own: its API is restarted."""
    async with Deployment(stack, tmp_path_factory.mktemp("examples")) as deployment:
        deployment.start_api()
        deployment.start_consumers()
        yield deployment


@pytest.fixture(scope="module", params=["follow-ts", "follow-react"])
def url(request: pytest.FixtureRequest, chromium: Browser, behind: Deployment) -> Iterator[str]:
    with preview(request.param, behind.url) as url:
        yield url


@pytest.fixture
async def page(chromium: Browser, url: str) -> AsyncIterator[CountdownPage]:
    async with await chromium.new_context() as context:
        page = CountdownPage(await context.new_page(), url)
        await page.open()
        yield page
        assert page.faults == []


async def test_countdown_is_followed_from_start_to_end(page: CountdownPage) -> None:
    await page.start("Lift-off", steps=3)

    await expect(page.task).to_contain_text("Lift-off")
    await expect(page.task).to_contain_text("PROCESSING")
    await expect(page.task).to_contain_text(re.compile("[12] of 3"))
    await expect(page.task).to_contain_text("COMPLETED")
    await expect(page.task).to_contain_text("Took 3 steps.")
    await expect(page.bar).to_have_js_property("value", 1)
    await expect(page.complaint).to_be_hidden()


async def test_what_was_refused_is_explained_and_can_be_put_right(page: CountdownPage) -> None:
    await page.start("Too far", steps=5_000)
    await expect(page.complaint).to_contain_text("less than or equal to 1000")
    await expect(page.task).to_be_hidden()

    await page.start("Put right", steps=1)
    await expect(page.complaint).to_be_hidden()
    await expect(page.task).to_contain_text("Took 1 steps.")


async def test_reloaded_page_goes_on_with_its_task(page: CountdownPage) -> None:
    await page.start("Still here", steps=2)
    await expect(page.task).to_contain_text("1 of 2")
    await page.page.reload()

    await expect(page.task).to_contain_text("Still here")
    await expect(page.task).to_contain_text("Took 2 steps.")


async def test_address_of_an_unknown_task_says_so(page: CountdownPage) -> None:
    await page.page.goto(f"{page.url}#{uuid4()}")
    await page.page.reload()

    await expect(page.complaint).to_have_text(re.compile("no .*task", re.IGNORECASE))


async def test_page_survives_a_restart_of_the_api(page: CountdownPage, behind: Deployment) -> None:
    await page.start("Survivor", steps=6)
    await expect(page.task).to_contain_text("1 of 6")
    api = next(process for process in behind.processes if process.module == "gql" and process.alive)
    api.kill()
    await expect(page.loss).to_be_visible()
    behind.start_api()

    await expect(page.task).to_contain_text("Took 6 steps.", timeout=TASK_SECONDS * 1000)
    await expect(page.loss).to_be_hidden()
    first, *_, last = page.subscriptions
    assert first["id"] == last["id"]
    if "afterVersion" in last:  # urql's page asks without
        assert last["afterVersion"] > 1
