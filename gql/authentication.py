"""Who asks: a bearer's token becomes a viewer, or a reason why not.

Invariant: what was found right is remembered by its digest until it ends or the issuer's keys change: a token
costs its check once, and counts no longer than it should.
"""

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Protocol

from gql.bearer import bearer_token, refused
from gql.jwks import Jwks
from gql.keys import Keys, public_key, secret_key
from gql.tokens import header_of, verified, viewer_of
from gql.viewer import LOCAL, Viewer
from gql.watch_tokens import WATCH_TYPE, WatchTokens
from taskql.access import AccessSettings

MAX_REMEMBERED = 10_000

Clock = Callable[[], float]


class Authenticator(Protocol):
    """Knows who bears a token."""

    async def viewer(self, values: Sequence[str]) -> Viewer:
        """Who sent these values of Authorization. Raises Unauthenticated; Unavailable where it can't tell."""
        ...


class Everybody:
    """AUTH=none: whoever asks is the one local user."""

    async def viewer(self, values: Sequence[str]) -> Viewer:
        return LOCAL


class Bearers:
    """AUTH=jwt."""

    def __init__(
        self,
        keys: Keys,
        watch_tokens: WatchTokens,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        clock: Clock = time.time,
    ) -> None:
        self._keys = keys
        self._watch_tokens = watch_tokens
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._generation = keys.generation
        self._remembered: OrderedDict[bytes, Viewer] = OrderedDict()

    async def viewer(self, values: Sequence[str]) -> Viewer:
        token = bearer_token(values)
        digest = sha256(token.encode()).digest()
        self._forget_what_old_keys_vouched_for()
        viewer = self._remembered.get(digest)
        if viewer is None:
            viewer = await self._checked(token)
            self._remember(digest, viewer)
        if viewer.has_ended(self._clock()):
            raise refused("The token has ended (exp); get a new one.")
        return viewer

    def _forget_what_old_keys_vouched_for(self) -> None:
        self._keys.freshen()
        if self._generation != self._keys.generation:
            self._generation = self._keys.generation
            self._remembered.clear()

    def _remember(self, digest: bytes, viewer: Viewer) -> None:
        self._remembered[digest] = viewer
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    async def _checked(self, token: str) -> Viewer:
        header = header_of(token)
        if header.get("typ") == WATCH_TYPE:
            return await self._watch_tokens.viewer(token)
        keys = await self._keys.candidates(header.get("kid"))
        if not keys:
            raise refused("The token is signed by a key (kid) that its issuer does not publish.")
        return viewer_of(verified(token, keys, issuer=self._issuer, audience=self._audience))


def authenticator_of(settings: AccessSettings, keys: Keys | None, watch_tokens: WatchTokens) -> Authenticator:
    if keys is None:
        return Everybody()
    return Bearers(keys, watch_tokens, issuer=settings.jwt_issuer, audience=settings.jwt_audience)


@asynccontextmanager
async def open_keys(settings: AccessSettings) -> AsyncIterator[Keys | None]:
    """What the settings say tokens are checked by; None for nothing. Raises StartupError for a bad PEM."""
    if settings.auth == "none":
        yield None
    elif settings.jwt_secret is not None:
        yield secret_key(settings.jwt_secret.get_secret_value(), settings.algorithms)
    elif settings.jwt_public_key is not None:
        yield public_key(settings.jwt_public_key, settings.algorithms)
    else:
        assert settings.jwt_jwks_url is not None
        jwks = Jwks(settings.jwt_jwks_url, settings.algorithms)
        jwks.freshen()
        try:
            yield jwks
        finally:
            await jwks.close()
