"""What a request says of its body and of the answer it takes: Content-Type and Accept, as HTTP reads them.

Invariant: each header is read once; what clients send again and again is remembered.
"""

from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache

MAX_REMEMBERED = 256
UTF_8 = {"utf-8", "utf8", "us-ascii"}


class MediaType(StrEnum):
    """What GraphQL is answered as."""

    JSON = "application/json"
    GRAPHQL = "application/graphql-response+json"
    EVENT_STREAM = "text/event-stream"


WILDCARDS = {"*/*": MediaType.JSON, "application/*": MediaType.JSON}


@lru_cache(MAX_REMEMBERED)
def accepted(accept: str) -> MediaType | None:
    """What an Accept header likes best of what we have; of equals, the first. None where that is nothing.

    urql names text/event-stream after the JSON types with every query: that is no wish for a stream.
    """
    if not accept.strip():
        return MediaType.JSON
    return max(offers(accept), key=lambda offer: offer[1], default=(None, 0.0))[0]


def offers(accept: str) -> Iterator[tuple[MediaType, float]]:
    """What we have of what a header names, each with its weight."""
    ours = {**WILDCARDS, **{kind.value: kind for kind in MediaType}}
    for part in accept.split(","):
        name, parameters = read_media_type(part)
        weight = weight_of(parameters.get("q", "1"))
        if name in ours and weight > 0:
            yield ours[name], weight


def weight_of(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


@lru_cache(MAX_REMEMBERED)
def body_fault(content_type: str, content_encoding: str) -> str | None:
    """Why a body so described can't be read, in words; None where it can."""
    name, parameters = read_media_type(content_type)
    if name != MediaType.JSON:
        return "Send the operation as JSON, with `Content-Type: application/json`."
    if parameters.get("charset", "utf-8") not in UTF_8:
        return "Send the JSON in UTF-8; no other charset is read."
    if content_encoding.strip().lower() not in ("", "identity"):
        return "Send the body as it is: compressed ones are not read."
    return None


def read_media_type(text: str) -> tuple[str, dict[str, str]]:
    """A media type and its parameters, in lower case."""
    name, *pieces = (piece.strip().lower() for piece in text.split(";"))
    pairs = (piece.partition("=") for piece in pieces)
    return name, {key.strip(): value.strip().strip('"') for key, _, value in pairs}
