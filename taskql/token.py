"""Tokens for development: signed with JWT_SECRET, as an issuer that shares it would sign them."""

import time
from collections.abc import Sequence
from datetime import timedelta

import jwt

from taskql.access import MAX_OWNER_CHARS, SHARED, AccessSettings, Scope
from taskql.errors import StartupError
from taskql.storable import is_storable


def development_token(settings: AccessSettings, owner: str, scopes: Sequence[str], lasts: timedelta) -> str:
    """Raises StartupError where it could not be used."""
    if settings.jwt_secret is None:
        raise StartupError(
            "JWT_SECRET is not set, so there is nothing to sign with: put the API's own into the environment "
            "or .env. Where the API trusts an issuer's keys, only that issuer makes tokens."
        )
    algorithm = settings.algorithms[0]
    if algorithm not in SHARED:
        raise StartupError(f"JWT_ALGORITHMS: {algorithm} does not go with JWT_SECRET.")
    if not (1 <= len(owner) <= MAX_OWNER_CHARS and is_storable(owner)):
        raise StartupError(f"An owner has 1 to {MAX_OWNER_CHARS} characters.")
    if unknown := [scope for scope in scopes if scope not in set(Scope)]:
        raise StartupError(f"There is no scope {', '.join(unknown)}; choose from {', '.join(Scope)}.")
    now = int(time.time())
    claims: dict[str, object] = {
        "sub": owner,
        "scope": " ".join(scopes),
        "iat": now,
        "exp": now + int(lasts.total_seconds()),
    }
    if settings.jwt_issuer is not None:
        claims["iss"] = settings.jwt_issuer
    if settings.jwt_audience is not None:
        claims["aud"] = settings.jwt_audience
    return jwt.encode(claims, settings.jwt_secret.get_secret_value(), algorithm)
