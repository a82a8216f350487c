"""GraphiQL on an API that wants to know who asks: one puts a token into the tab Headers, and all works."""

from pathlib import Path

from playwright.async_api import Browser, expect

from taskql.devstack import DevStack
from tests.browser.graphiql import GraphiQL
from tests.deployment import QUICK, Deployment
from tests.tokens import SECRET, token


async def test_token_in_the_headers_goes_with_requests_and_subscriptions(
    chromium: Browser, stack: DevStack, tmp_path: Path
) -> None:
    settings = {**QUICK, "AUTH": "jwt", "JWT_SECRET": SECRET}
    async with Deployment(stack, tmp_path, settings) as deployment, await chromium.new_context() as context:
        deployment.start_api()
        graphiql = GraphiQL(await context.new_page(), deployment.url)
        await graphiql.open()
        await graphiql.run("Create")
        await expect(graphiql.result).to_contain_text("UNAUTHENTICATED")

        bearer = f'{{"Authorization": "Bearer {token(sub="gina")}"}}'
        for tab in ("Create", "Watch"):
            await graphiql.choose(tab)
            await graphiql.page.get_by_role("button", name="Headers").click()
            await graphiql.page.locator(".graphiql-editor-tool .view-lines:visible").click()
            await graphiql.page.keyboard.press("ControlOrMeta+a")
            await graphiql.page.keyboard.insert_text(bearer)
            await graphiql.page.keyboard.press("Shift+End")
            await graphiql.page.keyboard.press("Delete")
            if tab == "Create":
                await graphiql.create()
        await graphiql.play.click()
        await expect(graphiql.result).to_contain_text('"status": "PENDING"')
