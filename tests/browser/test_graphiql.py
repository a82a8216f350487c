"""GraphiQL in real Chromium: what somebody who has just opened it does first."""

import re

from playwright.async_api import expect

from tests.browser.graphiql import TASK_SECONDS, GraphiQL
from tests.deployment import Deployment


async def test_created_task_is_watched_to_its_end_and_listed(graphiql: GraphiQL) -> None:
    task_id = await graphiql.create()

    await graphiql.run("Watch")
    await expect(graphiql.result).to_contain_text('"status": "PROCESSING"')
    await expect(graphiql.result).to_contain_text('"message": "3 of 10"', timeout=TASK_SECONDS * 1000)
    await expect(graphiql.result).to_contain_text('"status": "COMPLETED"', timeout=TASK_SECONDS * 1000)
    await expect(graphiql.result).to_contain_text('"steps": 10')
    await expect(graphiql.play).to_be_visible()  # a stop button while the subscription lasts

    await graphiql.run("List")
    await expect(graphiql.result).to_contain_text(task_id)


async def test_no_request_leaves_the_origin(graphiql: GraphiQL, deployment: Deployment) -> None:
    await graphiql.create()
    await graphiql.run("Watch")
    await expect(graphiql.result).to_contain_text('"title": "Hello"')
    await graphiql.page.get_by_role("button", name="Show Documentation Explorer").click()
    await graphiql.page.get_by_role("button", name="Open settings dialog").click()

    assert graphiql.hosts - {""} == {f"127.0.0.1:{deployment.port}"}  # "": fonts within the style sheet


async def test_explorer_shows_descriptions(graphiql: GraphiQL) -> None:
    await graphiql.page.get_by_role("button", name="Show Documentation Explorer").click()
    docs = graphiql.page.locator(".graphiql-doc-explorer")

    await docs.get_by_role("link", name="Mutation").click()
    await expect(docs).to_contain_text("Once this answers with one, it is kept")

    await docs.get_by_role("link", name="CreateTaskInput").click()
    await expect(docs).to_contain_text("1 to 255 characters, not counting white space at the ends.")


async def test_first_visit_offers_the_newest_task(graphiql: GraphiQL, deployment: Deployment) -> None:
    task_id = await deployment.create_id("Found", work={"reverse": {"inputData": "hello"}})
    await graphiql.reload()

    await graphiql.choose("Watch")
    await expect(graphiql.variables).to_contain_text(task_id)
    await graphiql.play.click()

    await expect(graphiql.result).to_contain_text('"status": "COMPLETED"', timeout=TASK_SECONDS * 1000)
    await expect(graphiql.result).to_contain_text("ReverseResult")


async def test_reloaded_page_goes_on_where_it_was(graphiql: GraphiQL) -> None:
    task_id = await graphiql.create()
    await graphiql.choose("Watch")
    await graphiql.kept()
    await graphiql.reload()

    await expect(graphiql.page.get_by_role("tab")).to_have_count(3)
    await expect(graphiql.variables).to_contain_text(task_id)
    await graphiql.play.click()

    await expect(graphiql.result).to_contain_text(re.compile(r'"status":\s"(PROCESSING|COMPLETED)"'))


async def test_typed_id_stays_until_another_task_is_created(
    graphiql: GraphiQL, deployment: Deployment
) -> None:
    typed = await deployment.create_id("Typed")
    newer = await deployment.create_id("Newer")
    await graphiql.reload()
    await graphiql.choose("Watch")
    await expect(graphiql.variables).to_contain_text(newer)
    await graphiql.type_variables(f'{{"id": "{typed}", "mine": 1}}')

    await graphiql.kept()
    await graphiql.choose("List")
    await graphiql.choose("Watch")
    await expect(graphiql.variables).to_contain_text(typed)

    await graphiql.reload()
    await expect(graphiql.variables).to_contain_text(typed)
    await graphiql.run("Watch")
    await expect(graphiql.result).to_contain_text('"title": "Typed"')

    created = await graphiql.create()
    await graphiql.choose("Watch")
    await expect(graphiql.variables).to_contain_text(created)
    await expect(graphiql.variables).to_contain_text('"mine": 1')


async def test_half_typed_variables_are_left_alone(graphiql: GraphiQL) -> None:
    await graphiql.choose("Watch")
    await graphiql.type_variables('{"id": not yet')
    await graphiql.kept()

    await graphiql.create()
    await graphiql.choose("Watch")

    await expect(graphiql.variables).to_contain_text('{"id": not yet')
