"""The token that a request bears, and what can be wrong with how it is borne.

Invariant: no message here or further on repeats any part of a token.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gql.errors import Unauthenticated

MAX_TOKEN_CHARS = 8_192
TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
HOW = "send `Authorization: Bearer <token>`"


def bearer_token(values: Sequence[str]) -> str:
    """The token of the Authorization headers. Raises Unauthenticated unless there is exactly one."""
    if not values:
        raise Unauthenticated(
            f"This API wants to know who asks: {HOW}, or give it as `authorization` in connection_init."
        )
    if len(values) > 1:
        raise refused("There are several Authorization headers; send one.")
    scheme, _, token = values[0].strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer":
        raise refused(f"The Authorization header has another scheme than Bearer; {HOW}.")
    if not token:
        raise refused(f"The Authorization header has no token; {HOW}.")
    if len(token) > MAX_TOKEN_CHARS:
        raise refused(f"The token has more than {MAX_TOKEN_CHARS} characters.")
    if not TOKEN.fullmatch(token):
        raise refused("The token has characters in it that no token has: spaces, quotes or the like.")
    return token


def init_values(payload: Mapping[str, Any], handshake: Sequence[str]) -> Sequence[str]:
    """What connection_init says, or the handshake where that says nothing."""
    named = [value for name, value in payload.items() if name.lower() == "authorization"]
    if any(not isinstance(value, str) for value in named):
        raise refused("`authorization` in connection_init must be a text: `Bearer <token>`.")
    return named or handshake


def refused(message: str) -> Unauthenticated:
    """A token was given, and won't do."""
    return Unauthenticated(message, token_given=True)
