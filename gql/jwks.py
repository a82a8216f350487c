"""The keys that an issuer publishes at a URL, as RFC 7517 has it: fetched when needed, kept while it is away.

Invariant: however many requests need the keys at once, one fetch goes out, and one in some seconds at most:
nobody can make us besiege the issuer with tokens that name keys it does not have.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import jwt

from gql.keys import Key, fitting_algorithms
from taskql.errors import Unavailable
from taskql.tracebacks import without_secrets

FETCH_EVERY_SECONDS = 10.0
"""So long an unknown key is known to be unknown."""
RETRY_EVERY_SECONDS = 2.0
"""After a fetch that failed."""
MAX_AGE_SECONDS = 600.0
"""Then the keys are fetched anew, so that one that the issuer has withdrawn ends here too."""
FETCH_SECONDS = 5.0
MAX_BYTES = 256 * 1024
MAX_KEYS = 100
PUBLIC_MEMBERS = {"kty", "n", "e", "crv", "x", "y"}

logger = logging.getLogger(__name__)

Clock = Callable[[], float]


class Jwks:
    """The keys of one issuer. Close it."""

    def __init__(
        self,
        url: str,
        algorithms: Sequence[str],
        http: httpx.AsyncClient | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.generation = 0
        self._url = url
        self._shown_url = without_secrets(url)
        self._algorithms = tuple(algorithms)
        self._http = http or httpx.AsyncClient(timeout=FETCH_SECONDS)
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._published: list[Mapping[str, Any]] = []
        self._keys: dict[str | None, list[Key]] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._well = False
        self._fetch: asyncio.Task[None] | None = None

    async def close(self) -> None:
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)
        await self._http.aclose()

    def freshen(self) -> None:
        if self._fetched_at is None or self._clock() - self._fetched_at > MAX_AGE_SECONDS:
            self._begin()

    async def candidates(self, key_id: str | None) -> Sequence[Key]:
        """One key, or a few of the same name; a token that names none is for an issuer with a single key."""
        if not self._known(key_id):
            await self._refresh()
        found = self._known(key_id)
        if not found and not self._well:
            raise Unavailable(f"The keys that tokens are checked by can't be fetched from {self._shown_url}.")
        return found

    def _known(self, key_id: str | None) -> Sequence[Key]:
        if key_id is not None:
            return self._keys.get(key_id, ())
        every = [key for keys in self._keys.values() for key in keys]
        return every if len(every) == 1 else ()

    # ------------------------------------------------------------ fetching

    async def _refresh(self) -> None:
        """Wait for the fetch that runs, or for a new one if it is time."""
        self._begin()
        if self._fetch is not None:
            await asyncio.shield(self._fetch)

    def _begin(self) -> None:
        pause = FETCH_EVERY_SECONDS if self._well else RETRY_EVERY_SECONDS
        if self._fetch is None and (self._tried_at is None or self._clock() - self._tried_at >= pause):
            self._tried_at = self._clock()
            self._fetch = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                published = published_keys(await self._body())
            self._take(published)
            self._well = True
            self._fetched_at = self._clock()
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, Unusable) as error:
            self._well = False
            why = str(error) or type(error).__name__
            kept = f"; {len(self._published)} older ones still count" if self._published else ""
            logger.warning("No keys from %s: %s%s", self._shown_url, why, kept)
        finally:
            self._fetch = None

    async def _body(self) -> bytes:
        body = bytearray()
        async with self._http.stream("GET", self._url, headers={"Accept": "application/json"}) as answer:
            if answer.status_code != 200:
                raise Unusable(f"it answered {answer.status_code}")
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise Unusable(f"it answered more than {MAX_BYTES} bytes")
        return bytes(body)

    def _take(self, published: list[Mapping[str, Any]]) -> None:
        if published == self._published:
            return
        self._published = published
        self._keys = {}
        for jwk in published:
            if key := usable_key(jwk, self._algorithms):
                self._keys.setdefault(jwk.get("kid"), []).append(key)
        self.generation += 1
        if not self._keys:
            logger.warning(
                "None of the keys at %s is one for %s", self._shown_url, ", ".join(self._algorithms)
            )


class Unusable(Exception):
    """What the URL answers is no set of keys."""


def published_keys(body: bytes) -> list[Mapping[str, Any]]:
    try:
        keys = json.loads(body)["keys"]
    except (ValueError, RecursionError, TypeError, KeyError):
        keys = None
    if not isinstance(keys, list):
        raise Unusable('it answered no JSON like {"keys": […]}')
    return [jwk for jwk in keys[:MAX_KEYS] if isinstance(jwk, dict)]


def usable_key(jwk: Mapping[str, Any], algorithms: Sequence[str]) -> Key | None:
    """None for keys that are for something else than verifying signatures by one of the algorithms.

    A shared secret that somebody has published is none.
    """
    allowed = [name for name in algorithms if jwk.get("alg", name) == name]
    if jwk.get("use", "sig") != "sig" or jwk.get("kty") not in ("RSA", "EC", "OKP") or not allowed:
        return None
    if not isinstance(jwk.get("kid"), str | None):
        return None
    try:
        material = jwt.PyJWK({name: jwk[name] for name in PUBLIC_MEMBERS & jwk.keys()}).key
    except Exception:  # a curve that nobody knows, a number that is none
        return None
    fitting = fitting_algorithms(material, allowed)
    return Key(material, fitting) if fitting else None
