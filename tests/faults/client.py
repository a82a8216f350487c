"""A client of an API that may be away: it tries again, and notes what no outage explains."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import httpx

ANSWER_SECONDS = 4.0
PAUSE_SECONDS = 0.2
EXPECTED_CODES = {"UNAVAILABLE"}
"""What an API may answer while services are away."""


class Client:
    """Over HTTP, within its `async with`. Each try goes to any of the API processes at `urls`."""

    def __init__(self, urls: Sequence[str], rng: random.Random) -> None:
        self.complaints: list[str] = []
        """Answers that no outage explains."""
        self._urls = urls
        self._rng = rng

    async def __aenter__(self) -> "Client":
        self._http = httpx.AsyncClient()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def answered(self, query: str, **variables: Any) -> Any:
        """The data that the API answers, asked as often as it takes."""
        while (data := await self.tried(query, **variables)) is None:
            await asyncio.sleep(PAUSE_SECONDS)
        return data

    async def tried(self, query: str, patience_seconds: float = ANSWER_SECONDS, **variables: Any) -> Any:
        """The data that the API answers to one try; None if it failed, whether or not it had its effect.

        Nobody there is no try: it certainly had none.
        """
        asked = {"query": query, "variables": variables}
        try:
            while (answer := await self._posted(asked, patience_seconds)) is None:
                await asyncio.sleep(PAUSE_SECONDS)
            body = answer.json()
        except (httpx.TransportError, ValueError):
            return None  # gone in the middle of it
        if "errors" in body:
            self.note(body["errors"])
            return None
        return body["data"]

    async def _posted(self, asked: Any, patience_seconds: float) -> httpx.Response | None:
        """The answer; None if nobody is there."""
        try:
            url = f"{self._rng.choice(self._urls)}/graphql"
            return await self._http.post(url, json=asked, timeout=patience_seconds)
        except httpx.ConnectError:
            return None

    def note(self, errors: list[Any]) -> None:
        for error in errors:
            if error.get("extensions", {}).get("code") not in EXPECTED_CODES:
                self.complaints.append(f"the API answered {error}")
