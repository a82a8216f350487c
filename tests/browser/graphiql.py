"""GraphiQL as somebody at the keyboard has it: tabs, a play button, editors and what they show."""

import re
from urllib.parse import urlsplit

from playwright.async_api import ConsoleMessage, Locator, Page, Request, Response, expect

TASK_SECONDS = 60
"""How long the first tab's countdown may take, on a slow machine too."""

KEEPS_WHAT_IT_SHOWS = """() => {
    const { tabs, activeTabIndex } = JSON.parse(localStorage.getItem('taskql-1:graphiql:tabState'));
    const shown = document.querySelector('.graphiql-editor-tool .view-lines').innerText;
    const plain = (text) => (text ?? '').replace(/\\s/g, '');
    return plain(tabs[activeTabIndex].variables) === plain(shown);
}"""


class GraphiQL:
    """The page in one browser window, with every complaint and every host so far."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = f"{url}/graphql"
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._on_request)
        page.on("response", self._on_response)
        page.on("websocket", lambda socket: self.hosts.add(urlsplit(socket.url).netloc))

    async def open(self) -> None:
        await self.page.goto(self.url)
        await expect(self.result).to_be_attached()

    async def reload(self) -> None:
        await self.page.reload()
        await expect(self.result).to_be_attached()

    async def kept(self) -> None:
        """Wait until the browser keeps the variables that are shown: GraphiQL takes half a second."""
        await self.page.wait_for_function(KEEPS_WHAT_IT_SHOWS)

    @property
    def play(self) -> Locator:
        return self.page.get_by_role("button", name="Execute query")

    @property
    def result(self) -> Locator:
        return self.page.locator(".graphiql-response .view-lines")

    @property
    def variables(self) -> Locator:
        return self.page.locator(".graphiql-editor-tool .view-lines").first

    async def choose(self, tab: str) -> None:
        await self.page.get_by_role("tab", name=tab).click()

    async def run(self, tab: str) -> None:
        """Choose the tab and play it at once."""
        await self.choose(tab)
        await self.play.click()

    async def create(self) -> str:
        """The id of the task that the first tab asks for as it stands."""
        await self.run("Create")
        await expect(self.result).to_contain_text('"userErrors": []')
        unwrapped = re.sub(r"\s", "", await self.result.inner_text())
        found = re.search(r'"id":"([0-9a-f-]{36})"', unwrapped)
        assert found
        return found[1]

    async def type_variables(self, text: str) -> None:
        keyboard = self.page.keyboard
        await self.variables.click()
        await keyboard.press("ControlOrMeta+a")
        await keyboard.insert_text(text)
        await keyboard.press("Shift+End")  # brackets and quotes that the editor has closed by itself
        await keyboard.press("Delete")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _on_request(self, request: Request) -> None:
        self.hosts.add(urlsplit(request.url).netloc)

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} {response.url}")
