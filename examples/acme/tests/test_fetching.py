"""`fetch` against servers that are made up: what becomes of each of their answers."""

import hashlib
from collections.abc import Callable
from datetime import timedelta

import httpx
import pytest
from acme.fetching import ContentKind, Page, fetch

from taskql.testing import InvalidInput, Run, perform

URL = "http://acme.test/page"


async def fetched(server: Callable[[httpx.Request], httpx.Response], **work: object) -> Run:
    async with httpx.AsyncClient(transport=httpx.MockTransport(server), follow_redirects=True) as client:
        return await perform(fetch, {"url": URL, **work}, resources={httpx.AsyncClient: client})


def answering(status: int, content: bytes = b"", **headers: str) -> Callable[[httpx.Request], httpx.Response]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: httpx.Response(status, content=content, headers=named)


async def test_a_page_is_told_by_its_size_and_digest() -> None:
    run = await fetched(answering(200, b"hello", content_type="text/plain"))
    page = run.result
    assert isinstance(page, Page)
    assert (page.status, page.kind, page.size) == (200, ContentKind.TEXT, 5)
    assert page.sha256 == hashlib.sha256(b"hello").hexdigest()
    assert run.progress[-1].fraction == 1


async def test_redirects_are_followed() -> None:
    def server(request: httpx.Request) -> httpx.Response:
        is_new = request.url.path == "/new"
        return httpx.Response(200) if is_new else httpx.Response(302, headers={"location": "/new"})

    assert (await fetched(server)).result.url == "http://acme.test/new"


@pytest.mark.parametrize("where", ["ftp://acme.test/", "/page"])
async def test_a_redirect_to_nowhere_is_given_up(where: str) -> None:
    run = await fetched(answering(302, location=where))
    assert run.failure is not None
    assert run.failure.code == "PERMANENT"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_busy_server_is_asked_again_when_it_says(status: int) -> None:
    run = await fetched(answering(status, retry_after="7"))
    assert run.failure is not None
    assert run.failure.message == f"The server answered {status}."
    assert run.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize("date", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "9" * 50])
async def test_any_other_wish_for_a_wait_is_left_to_the_usual_back_off(date: str) -> None:
    assert (await fetched(answering(503, retry_after=date))).retry_after == timedelta(seconds=1)


async def test_a_server_that_is_away_is_asked_again() -> None:
    def server(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    run = await fetched(server)
    assert run.failure is not None
    assert run.failure.message == "acme.test can't be reached."
    assert run.retry_after is not None


async def test_a_page_that_is_not_there_is_a_failure_with_its_status() -> None:
    run = await fetched(answering(404))
    assert run.failure is not None
    assert run.failure.detail["__typename"] == "NotThere"
    assert (run.failure.detail["url"], run.failure.detail["status"]) == (URL, 404)
    assert run.retry_after is None


async def test_more_than_asked_for_is_not_read() -> None:
    assert (await fetched(answering(200, b"12345"), max_bytes=5)).result.size == 5
    run = await fetched(answering(200, b"123456"), max_bytes=5)
    assert run.failure is not None
    assert run.failure.detail["maxBytes" if "maxBytes" in run.failure.detail else "max_bytes"] == 5


@pytest.mark.parametrize("url", ["ftp://acme.test/", "acme.test", "http://", "file:///etc/passwd"])
async def test_what_is_not_of_the_web_is_refused_before_it_is_stored(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"^work\.fetch\.url: Value error, .*URL"):
        await perform(fetch, {"url": url})
