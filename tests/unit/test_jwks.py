"""The keys that an issuer publishes: when they are fetched, what is made of them, and what if it is away."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from gql.authentication import Bearers
from gql.errors import Unauthenticated
from gql.jwks import FETCH_EVERY_SECONDS, MAX_AGE_SECONDS, MAX_BYTES, RETRY_EVERY_SECONDS, Jwks
from gql.watch_tokens import WatchTokens
from taskql.errors import Unavailable
from tests.tokens import EC, ED, OTHER_RSA, RSA, jwk_of, token
from tests.unit.stage import until
from tests.unit.stub_api import stub_secret

URL = "https://issuer/keys"
ALGORITHMS = ("RS256", "ES256", "EdDSA")


class Issuer:
    """Publishes `keys`, or answers with `answer`; while `open` is not set, it takes its time."""

    def __init__(self, *keys: Any) -> None:
        self.keys = list(keys)
        self.answer: httpx.Response | Exception | None = None
        self.fetches = 0
        self.open = asyncio.Event()
        self.open.set()
        self.time = 1_000.0

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self.fetches += 1
        await self.open.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or httpx.Response(200, json={"keys": self.keys})

    @asynccontextmanager
    async def door(self) -> AsyncIterator[Bearers]:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self.handle))
        jwks = Jwks(URL, ALGORITHMS, http, lambda: self.time)
        try:
            yield Bearers(jwks, WatchTokens(stub_secret))
        finally:
            await jwks.close()


def signed(private: Any, algorithm: str, kid: str | None) -> list[str]:
    return [f"Bearer {token(private, algorithm, {'kid': kid} if kid else {})}"]


A = signed(RSA, "RS256", "a")
B = signed(OTHER_RSA, "RS256", "b")
KEY_A, KEY_B = jwk_of(RSA, "a"), jwk_of(OTHER_RSA, "b")


async def test_token_is_checked_by_the_key_that_it_names() -> None:
    issuer = Issuer(KEY_A, jwk_of(EC, "e"), jwk_of(ED, "d"))
    async with issuer.door() as door:
        for values in (A, signed(EC, "ES256", "e"), signed(ED, "EdDSA", "d")):
            assert (await door.viewer(values)).owner == "alice"
        for wrong in (signed(OTHER_RSA, "RS256", "a"), signed(EC, "ES256", "a"), signed(RSA, "RS256", "e")):
            with pytest.raises(Unauthenticated, match=r"signature|alg"):
                await door.viewer(wrong)
        assert issuer.fetches == 1


async def test_requests_that_need_the_keys_at_once_share_one_fetch() -> None:
    issuer = Issuer(KEY_A)
    issuer.open.clear()
    async with issuer.door() as door:
        asked = [asyncio.create_task(door.viewer(A)) for _ in range(20)]
        await until(lambda: issuer.fetches == 1)
        asked[0].cancel()  # a client that goes takes the fetch from nobody
        issuer.open.set()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [viewer.owner for viewer in found[1:]] == ["alice"] * 19  # type: ignore[union-attr]
        assert issuer.fetches == 1


async def test_new_key_is_found_and_unknown_ones_are_asked_for_but_seldom() -> None:
    issuer = Issuer(KEY_A)
    async with issuer.door() as door:
        await door.viewer(A)
        issuer.keys.append(KEY_B)
        for number in range(5):
            with pytest.raises(Unauthenticated, match="kid"):
                await door.viewer(signed(OTHER_RSA, "RS256", f"made-up-{number}"))
        assert issuer.fetches == 1
        issuer.time += FETCH_EVERY_SECONDS
        assert (await door.viewer(B)).owner == "alice"
        assert issuer.fetches == 2


async def test_withdrawn_key_ends_what_it_vouched_for() -> None:
    issuer = Issuer(KEY_A, KEY_B)
    async with issuer.door() as door:
        await door.viewer(A)
        issuer.keys.remove(KEY_A)
        await door.viewer(A)
        issuer.time += MAX_AGE_SECONDS + 1
        await door.viewer(A)  # nobody waits: the keys are fetched beside
        await until(lambda: issuer.fetches == 2)
        issuer.time += FETCH_EVERY_SECONDS
        await until_refused(door)
        assert (await door.viewer(B)).owner == "alice"


async def until_refused(door: Bearers) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await door.viewer(A)
            except Unauthenticated:
                return
            await asyncio.sleep(0)


async def test_old_keys_count_while_the_issuer_is_away() -> None:
    issuer = Issuer(KEY_A)
    async with issuer.door() as door:
        await door.viewer(A)
        issuer.answer = httpx.ConnectError("refused")
        issuer.time += MAX_AGE_SECONDS + 1
        other = signed(RSA, "RS256", "a")
        assert (await door.viewer(other)).owner == "alice"
        # Whether another key is the issuer's, nobody can say now.
        with pytest.raises(Unavailable):
            await door.viewer(B)
        issuer.answer = None
        issuer.keys = [KEY_B]
        issuer.time += RETRY_EVERY_SECONDS
        assert (await door.viewer(B)).owner == "alice"


def useless() -> Iterator[httpx.Response | Exception]:
    yield httpx.ConnectError("refused")
    yield httpx.ReadTimeout("slow")
    yield httpx.Response(500, json={"keys": [KEY_A]})
    yield httpx.Response(302, headers={"location": "https://elsewhere/keys"})
    yield httpx.Response(200, text="<html>")
    yield httpx.Response(200, json=[])
    yield httpx.Response(200, json={"keys": {}})
    yield httpx.Response(200, content=b"[" * 100_000)
    yield httpx.Response(200, content=json.dumps({"keys": [KEY_A], "more": "x" * MAX_BYTES}).encode())


@pytest.mark.parametrize("answer", list(useless()), ids=lambda answer: type(answer).__name__)
async def test_nobody_is_known_before_there_are_keys_and_everybody_after(answer: Any) -> None:
    issuer = Issuer(KEY_A)
    issuer.answer = answer
    async with issuer.door() as door:
        with pytest.raises(Unavailable):
            await door.viewer(A)
        with pytest.raises(Unavailable):
            await door.viewer(A)
        assert issuer.fetches == 1
        issuer.answer = None
        issuer.time += RETRY_EVERY_SECONDS
        assert (await door.viewer(A)).owner == "alice"


@pytest.mark.parametrize(
    "jwk",
    [
        jwk_of(RSA, "a", use="enc"),
        jwk_of(RSA, "a", alg="RS512"),
        jwk_of(RSA, "a", kty="oct", k="c2VjcmV0"),
        {"kty": "oct", "kid": "a", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"},
        {"kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "kid": "a"},
        {"kty": "EC", "kid": "a", "crv": "P-999", "x": "AA", "y": "AA"},
        {"kid": 7},
        {},
        "a key",
        None,
    ],
    ids=lambda jwk: type(jwk).__name__,  # not what they hold: each worker makes other keys
)
async def test_key_that_is_none_for_signatures_is_passed_over(jwk: Any) -> None:
    issuer = Issuer(jwk, KEY_B)
    async with issuer.door() as door:
        assert (await door.viewer(B)).owner == "alice"
        for values in (A, signed("c" * 32, "HS256", "a")):
            with pytest.raises(Unauthenticated):
                await door.viewer(values)


async def test_token_without_a_key_id_is_for_an_issuer_with_one_key() -> None:
    async with Issuer(jwk_of(RSA, None)).door() as door:
        assert (await door.viewer(signed(RSA, "RS256", None))).owner == "alice"
    async with Issuer(KEY_A).door() as door:
        assert (await door.viewer(signed(RSA, "RS256", None))).owner == "alice"
    async with Issuer(KEY_A, KEY_B).door() as door:
        with pytest.raises(Unauthenticated, match="kid"):
            await door.viewer(signed(RSA, "RS256", None))


async def test_two_keys_of_one_name_are_both_tried() -> None:
    async with Issuer(jwk_of(OTHER_RSA, "a"), KEY_A).door() as door:
        assert (await door.viewer(A)).owner == "alice"
