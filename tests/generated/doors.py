"""The API processes that are asked, one without authentication, and what is shown to them as a token."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.tokens import OTHER_RSA, SECRET, forged, token

FAR = int(time.time()) + 10**6
ADMIN = "tasks:read tasks:write tasks:admin"

GOOD = [
    token(scope=ADMIN, exp=FAR),
    token(exp=FAR),
    token(sub="bob", exp=FAR),
    token(scope="tasks:read", exp=FAR),
    token(scope="tasks:write", exp=FAR),
]
BAD = [
    token(exp=1),
    token(nbf=FAR),
    token(sub=None),
    token(scope=None),
    token(aud="somebody else"),
    token("another-secret-of-thirty-two-bytes-or-more"),
    token(OTHER_RSA, "RS256"),
    forged({"alg": "none"}, {"sub": "alice", "exp": FAR}),
]


@dataclass(frozen=True, slots=True)
class Door:
    """Where an API process listens."""

    auth: str
    port: int

    def __repr__(self) -> str:
        return f"AUTH={self.auth}"


def signed(claims: Mapping[str, Any], **header: Any) -> str:
    """A token that our secret confirms, whatever is in it: PyJWT would refuse to make many of these."""
    text = forged({"alg": "HS256", "typ": "JWT", **header}, claims).rstrip(".")
    signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def odd_values() -> st.SearchStrategy[Any]:
    """What JSON can carry where something else is expected, and some of what it can't."""
    texts = st.one_of(st.text(max_size=12), st.sampled_from(ODD_TEXTS))
    numbers = st.one_of(st.integers(), st.floats(), st.sampled_from(ODD_NUMBERS))
    leaves = st.one_of(st.none(), st.booleans(), numbers, texts)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=4,
    )


ODD_NUMBERS: list[float] = [2**31, -(2**31) - 1, 2**53 + 1, 2**63, -(2**63) - 1, 10**400, 1e308, -0.0]
ODD_TEXTS = [
    "",
    " ",
    "\0",
    "a\0b",
    "\ud800",
    "\udfff\ud800",
    "\ufeff",
    "\u202e",
    "😀" * 100,
    "x" * 70_000,
    "null",
    "NaN",
    "1e999",
    "%00",
    "%s%n",
    "'; DROP TABLE tasks --",
    "../../etc/passwd",
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00+14:00",
    "2026-02-30T00:00:00Z",
    "-infinity",
    "00000000-0000-0000-0000-000000000000",
    "e30=",
    "WzEsMl0=",
    "__proto__",
]


@st.composite
def tokens(draw: st.DrawFn) -> str:
    """Most are good, the others wrong, mutated or signed nonsense."""
    kind = draw(st.sampled_from(["good"] * 6 + ["bad", "mutated", "claims", "text"]))
    match kind:
        case "good":
            return draw(st.sampled_from(GOOD))
        case "bad":
            return draw(st.sampled_from(BAD))
        case "mutated":
            made = draw(st.sampled_from(GOOD + BAD))
            at = draw(st.integers(0, len(made)))
            return (
                made[:at] + draw(st.text("AZaz09-_.=+/ ", max_size=3)) + made[at + draw(st.integers(0, 3)) :]
            )
        case "claims":
            names = st.sampled_from(["sub", "scope", "exp", "nbf", "iat", "iss", "aud", "task", "jti"])
            odd = draw(st.dictionaries(names, odd_values(), min_size=1, max_size=2))
            header: dict[str, Any] = draw(
                st.sampled_from([{}, {"kid": 5}, {"kid": "\0"}, {"crit": ["b64"]}, {"b64": False}])
            )
            return signed({"sub": "alice", "scope": ADMIN, "exp": FAR, **odd}, **header)
        case _:
            return draw(st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=40))


@st.composite
def authorizations(draw: st.DrawFn) -> str | None:
    """The value of Authorization; None: there is none."""
    shape = draw(
        st.sampled_from(["Bearer {}"] * 12 + ["bearer {}", "Bearer  {} ", "Basic {}", "{}", "Bearer", ""])
    )
    return shape.format(draw(tokens())) if shape else None


def as_json(value: Any) -> bytes:
    """JSON as loosely as Python writes it: NaN and lone surrogates stay what they are."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
