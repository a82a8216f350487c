"""`fetch`: what lies at a URL.

It fetches from wherever the worker can reach: where strangers may create tasks, check the host too.
"""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

import httpx
from pydantic import BaseModel, Field, field_validator

from taskql import Permanent, Retryable, TaskContext, handler, lifespan

MAX_BYTES = 10 * 1024 * 1024


class Fetch(BaseModel):
    """What to fetch."""

    url: str = Field(description="It begins with http:// or https://", max_length=2000)
    max_bytes: int = Field(default=MAX_BYTES, description="Give up on anything larger", ge=1, le=MAX_BYTES)

    @field_validator("url")
    @classmethod
    def _is_of_the_web(cls, url: str) -> str:
        try:
            parts = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"this is no URL: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.host:
            raise ValueError("give a URL that begins with http:// or https://")
        return url


class ContentKind(Enum):
    """What a page is made of, as its server says."""

    TEXT = "text"
    IMAGE = "image"
    OTHER = "other"


class Page(BaseModel):
    """What was found."""

    url: str = Field(description="Where it lay in the end, after redirects")
    status: int
    kind: ContentKind
    content_type: str | None = Field(description="As its server says")
    size: int = Field(description="In bytes")
    sha256: str
    fetched_at: datetime


@dataclass
class NotThere(Exception):
    """The server answers, but not with a page."""

    url: str
    status: int


@dataclass
class TooLarge(Exception):
    """The page is larger than asked for."""

    max_bytes: int


@lifespan
async def http_client() -> AsyncIterator[httpx.AsyncClient]:
    """One pool of connections for all tasks of a worker."""
    async with httpx.AsyncClient(timeout=10, follow_redirects=True) as client:
        yield client


@handler("fetch", max_attempts=5, timeout=timedelta(seconds=60), failures=[NotThere, TooLarge])
async def fetch(work: Fetch, task: TaskContext) -> Page:
    """Fetches a page, patiently: a server that is away or busy is asked again later."""
    client = task.resource(httpx.AsyncClient)
    try:
        async with client.stream("GET", work.url) as answer:
            refuse(answer)
            return await page(answer, work.max_bytes, task)
    except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.DecodingError) as error:
        raise Permanent("It redirects to nowhere, or sends what nobody can read.") from error
    except httpx.TransportError as error:
        raise Retryable(f"{httpx.URL(work.url).host} can't be reached.") from error


def refuse(answer: httpx.Response) -> None:
    """Raise for what is no page: a busy server may be asked again, when it says."""
    if answer.status_code == 429 or answer.is_server_error:
        raise Retryable(f"The server answered {answer.status_code}.", after=asked_to_wait(answer))
    if not answer.is_success:
        raise NotThere(str(answer.url), answer.status_code)


def asked_to_wait(answer: httpx.Response) -> timedelta | None:
    """The server's Retry-After in seconds; its other form, a date, is left to the usual back-off."""
    seconds = answer.headers.get("retry-after", "")
    return timedelta(seconds=int(seconds)) if seconds.isdecimal() and len(seconds) < 8 else None


async def page(answer: httpx.Response, max_bytes: int, task: TaskContext) -> Page:
    """Read all of it, but never more than asked for."""
    digest, size = hashlib.sha256(), 0
    expected = int(answer.headers.get("content-length", 0))
    async for piece in answer.aiter_bytes():
        digest.update(piece)
        size += len(piece)
        if size > max_bytes:
            raise TooLarge(max_bytes)
        if expected:
            task.progress(size / expected, f"{size} bytes so far")
    content_type = answer.headers.get("content-type")
    return Page(
        url=str(answer.url),
        status=answer.status_code,
        kind=kind_of(content_type),
        content_type=content_type,
        size=size,
        sha256=digest.hexdigest(),
        fetched_at=datetime.now(UTC),
    )


def kind_of(content_type: str | None) -> ContentKind:
    match (content_type or "").partition("/")[0]:
        case "text":
            return ContentKind.TEXT
        case "image":
            return ContentKind.IMAGE
        case _:
            return ContentKind.OTHER
