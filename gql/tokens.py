"""JSON web tokens: what one claims, once its signature, its algorithm and its times are right.

Invariant: the algorithm is one that the key is for, and never chosen by the token; any other fault is an
Unauthenticated whose message says what is wrong and repeats nothing of the token.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jwt

from gql.bearer import refused
from gql.keys import Key
from gql.viewer import Scope, Viewer
from taskql.access import MAX_OWNER_CHARS
from taskql.storable import is_storable

LEEWAY_SECONDS = 10
"""So far an issuer's clock may be ahead of ours. A token's end is its end."""
REQUIRED = ["exp", "sub"]
LAST_END = 253_402_300_799
"""The end of the year 9999; milliseconds by mistake are beyond it."""

FAULTS: dict[type[Exception], str] = {
    jwt.InvalidSignatureError: "The token's signature is wrong.",
    jwt.ExpiredSignatureError: "The token has ended (exp); get a new one.",
    jwt.ImmatureSignatureError: "The token does not count yet (nbf, iat): is a clock wrong?",
    jwt.InvalidIssuedAtError: "The token's `iat` is no time.",
    jwt.InvalidIssuerError: "The token is by another issuer (iss) than this API trusts.",
    jwt.InvalidAudienceError: "The token is meant for somebody else (aud) than this API.",
    jwt.exceptions.InvalidSubjectError: "The token's `sub` must be a text.",
}


def header_of(token: str) -> Mapping[str, Any]:
    """What the token says of itself, of which nothing is believed yet."""
    try:
        header = jwt.get_unverified_header(token)
    except Exception:  # whatever three pieces of base64 can be made to raise
        raise refused("The token is no JSON web token that this API can read.") from None
    if "crit" in header:
        raise refused("The token wants extensions understood (crit) that this API does not know.")
    return header


def verified(
    token: str, keys: Sequence[Key], *, issuer: str | None = None, audience: str | None = None
) -> Mapping[str, Any]:
    """The claims of a token that one of the keys has signed."""
    algorithm = header_of(token).get("alg")
    fitting = [key for key in keys if algorithm in key.algorithms]
    if not fitting:
        raise refused("The token is signed in a way (alg) that this API does not accept.")
    for key in fitting[:-1]:
        try:
            return decoded(token, key, issuer, audience)
        except jwt.InvalidSignatureError:
            continue
    try:
        return decoded(token, fitting[-1], issuer, audience)
    except jwt.MissingRequiredClaimError as error:
        raise refused(f"The token lacks `{error.claim}`.") from None
    except jwt.PyJWTError as error:
        message = FAULTS.get(type(error), "The token is no JSON web token that this API can read.")
        raise refused(message) from None


def decoded(token: str, key: Key, issuer: str | None, audience: str | None) -> Mapping[str, Any]:
    claims: Mapping[str, Any] = jwt.decode(
        token,
        key.material,
        algorithms=key.algorithms,
        issuer=issuer,
        audience=audience,
        leeway=LEEWAY_SECONDS,
        options={"require": REQUIRED},
    )
    return claims


def viewer_of(claims: Mapping[str, Any]) -> Viewer:
    """Whom an issuer's claims describe. Scopes that mean nothing here are no fault."""
    words = claims.get("scope", "")
    if not isinstance(words, str):
        raise refused("The token's `scope` must be a text: scopes with spaces between them.")
    scopes = frozenset(Scope(word) for word in words.split() if word in set(Scope))
    return Viewer(owner_of(claims), scopes, end_of(claims))


def owner_of(claims: Mapping[str, Any]) -> str:
    owner = claims["sub"]
    if not (isinstance(owner, str) and 1 <= len(owner) <= MAX_OWNER_CHARS and is_storable(owner)):
        raise refused(f"The token's `sub` must be a text of 1 to {MAX_OWNER_CHARS} characters without NUL.")
    return owner


def end_of(claims: Mapping[str, Any]) -> float:
    end = claims["exp"]
    if isinstance(end, bool) or not isinstance(end, int | float) or not 0 < end <= LAST_END:
        raise refused("The token's `exp` must be a number of seconds since 1970.")
    return float(end)
