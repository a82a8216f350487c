"""Make docs/images/graphiql.png for the README: `python -m web.screenshot URL` of a TaskQL that runs."""

import asyncio
import sys
from pathlib import Path

from playwright.async_api import ViewportSize, expect

from tests.browser.chromium import open_chromium
from tests.browser.graphiql import GraphiQL

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "graphiql.png"
SIZE = ViewportSize(width=1480, height=720)


async def main(url: str) -> None:
    """Create the first tab's countdown, and take it while it is watched."""
    async with open_chromium() as browser:
        graphiql = GraphiQL(await browser.new_page(viewport=SIZE, device_scale_factor=1.25), url)
        await graphiql.open()
        await graphiql.page.get_by_role("button", name="Show Documentation Explorer").click()
        await graphiql.page.get_by_role("link", name="Subscription").click()
        await graphiql.create()
        await graphiql.run("Watch")
        await expect(graphiql.result).to_contain_text('"message": "7 of 10"', timeout=60_000)
        PICTURE.parent.mkdir(exist_ok=True)
        await graphiql.page.screenshot(path=PICTURE)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
