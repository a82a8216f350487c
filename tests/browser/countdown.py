"""The page that both examples/follow-* show, as somebody at the keyboard has it."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from playwright.async_api import Locator, Page, WebSocket

from tests.deployment import ROOT, free_port, poll
from web.build import node_environment

START_SECONDS = 60
EXAMPLES = ROOT / "examples"


class CountdownPage:
    """The page in one browser window, with every subscription that it has asked for so far."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []
        self.subscriptions: list[dict[str, Any]] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("websocket", self._on_websocket)

    async def open(self) -> None:
        await self.page.goto(self.url)

    async def start(self, title: str, steps: int) -> None:
        await self.page.get_by_label("Title").fill(title)
        await self.page.get_by_label("Steps").fill(str(steps))
        await self.page.get_by_role("button", name="Start").click()

    @property
    def task(self) -> Locator:
        return self.page.get_by_role("article")

    @property
    def bar(self) -> Locator:
        return self.page.get_by_role("progressbar")

    @property
    def complaint(self) -> Locator:
        return self.page.get_by_role("alert")

    @property
    def loss(self) -> Locator:
        return self.page.get_by_role("status")

    def _on_websocket(self, socket: WebSocket) -> None:
        socket.on("framesent", self._on_frame)

    def _on_frame(self, frame: str | bytes) -> None:
        message = json.loads(frame)
        if message["type"] == "subscribe" and "subscription" in message["payload"]["query"]:
            self.subscriptions.append(message["payload"]["variables"])


@contextmanager
def preview(example: str, api_url: str) -> Iterator[str]:
    """What `vite preview` serves of a built example, with the API behind it; its URL."""
    env = node_environment()
    node = shutil.which("node", path=env.get("PATH"))
    assert node
    assert (EXAMPLES / example / "dist" / "index.html").exists(), "it isn't built: make examples"
    port = free_port()
    process = subprocess.Popen(
        [
            *(node, EXAMPLES / "node_modules" / "vite" / "bin" / "vite.js", "preview"),
            *("--host", "127.0.0.1", "--port", str(port), "--strictPort"),
        ],
        cwd=EXAMPLES / example,
        env={**os.environ, **env, "TASKQL_URL": api_url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}/"
        poll(lambda: answers(url) or process.poll() is not None, START_SECONDS)
        yield url
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False
