"""Whom a token makes of its bearer, and every token that makes nobody of them."""

import asyncio
import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gql.authentication import MAX_REMEMBERED, Bearers
from gql.bearer import MAX_TOKEN_CHARS, init_values
from gql.errors import Unauthenticated
from gql.keys import Keys, public_key, secret_key
from gql.viewer import Scope, Viewer
from gql.watch_tokens import WatchTokens
from taskql.access import MAX_OWNER_CHARS
from taskql.errors import StartupError
from tests.tokens import EC, ED, OTHER_RSA, RSA, SECRET, forged, pem_of, token
from tests.unit.stub_api import TASK_ID, stub_secret

NOW = int(time.time())
PUBLIC = ("RS256", "ES256")


def bearers(keys: Keys | None = None, **how: Any) -> Bearers:
    return Bearers(keys or secret_key(SECRET, ["HS256"]), WatchTokens(stub_secret), **how)


async def viewer(text: str, door: Bearers | None = None) -> Viewer:
    return await (door or bearers()).viewer([f"Bearer {text}"])


async def refusal(text: str, door: Bearers | None = None) -> str:
    """Why the token makes nobody a viewer; nothing of it is repeated."""
    with pytest.raises(Unauthenticated) as refused:
        await viewer(text, door)
    assert refused.value.token_given
    pieces = [piece for piece in text.split(".") if len(piece) > 6]
    assert not [piece for piece in pieces if piece in refused.value.message]
    return str(refused.value.message)


# ---------------------------------------------------------------- who it is


async def test_owner_scopes_and_end_are_the_token_s() -> None:
    found = await viewer(token(sub="zoë", scope="tasks:read  email tasks:write", exp=NOW + 7_200))
    assert (found.owner, set(found.scopes)) == ("zoë", {Scope.READ, Scope.WRITE})
    assert (found.expires_at, found.watches, found.whose) == (NOW + 7_200, None, "zoë")


@pytest.mark.parametrize("scope", [None, "", "  ", "email profile", "TASKS:READ", "tasks:read,tasks:write"])
async def test_without_a_known_scope_they_may_nothing(scope: str | None) -> None:
    assert (await viewer(token(scope=scope))).scopes == frozenset()


async def test_administrator_sees_everybody_s_tasks_and_makes_their_own() -> None:
    found = await viewer(token(scope="tasks:admin"))
    assert (found.owner, found.whose) == ("alice", None)
    assert all(map(found.may, Scope))


@pytest.mark.parametrize("name", ["a", "x" * MAX_OWNER_CHARS, "auth0|5f7", "a b", "Ünï"])
async def test_owner_is_any_text_that_can_be_stored(name: str) -> None:
    assert (await viewer(token(sub=name))).owner == name


@pytest.mark.parametrize(
    ("private", "algorithm"), [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (ED, "EdDSA")]
)
async def test_public_key_checks_what_its_private_key_has_signed(private: Any, algorithm: str) -> None:
    door = bearers(public_key(pem_of(private), [algorithm]))
    assert (await viewer(token(private, algorithm), door)).owner == "alice"
    assert "signature" in await refusal(token(private, algorithm)[:-8] + "AAAAAAAA", door)


# ---------------------------------------------------------------- what won't do


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"exp": None}, "lacks `exp`"),
        ({"exp": NOW - 1}, "has ended (exp)"),
        ({"exp": NOW - 3600}, "has ended (exp)"),
        ({"exp": "soon"}, "no JSON web token that this API can read"),
        ({"exp": str(NOW + 7_200)}, "`exp` must be a number"),
        ({"exp": True}, "has ended (exp)"),
        ({"exp": 10**400}, "`exp` must be a number of seconds"),
        ({"exp": NOW * 1000}, "`exp` must be a number of seconds"),
        ({"exp": float("inf")}, "no JSON web token that this API can read"),
        ({"nbf": NOW + 36_000}, "does not count yet"),
        ({"iat": NOW + 36_000}, "does not count yet"),
        ({"iat": "today"}, "`iat` is no time"),
        ({"sub": None}, "lacks `sub`"),
        ({"sub": ""}, "`sub` must be a text of 1 to 255"),
        ({"sub": "x" * (MAX_OWNER_CHARS + 1)}, "`sub` must be a text of 1 to 255"),
        ({"sub": "a\0b"}, "`sub` must be a text of 1 to 255"),
        ({"sub": "\ud800"}, "`sub` must be a text of 1 to 255"),
        ({"sub": 7}, "`sub` must be a text"),
        ({"scope": ["tasks:read"]}, "`scope` must be a text"),
        ({"aud": "another-api"}, "meant for somebody else (aud)"),
    ],
)
async def test_claim_that_is_wrong_is_named(claims: Mapping[str, Any], says: str) -> None:
    assert says in await refusal(forged_signed(claims))


def forged_signed(claims: Mapping[str, Any]) -> str:
    """Signed as it should be, whatever it claims: PyJWT itself would not make some of these."""
    made = {"sub": "alice", "exp": NOW + 3600, **claims}
    present = {name: value for name, value in made.items() if value is not None}
    return jwt.api_jws.encode(json.dumps(present).encode(), SECRET, "HS256")


@pytest.mark.parametrize("late", [-5, 0, 5])
async def test_clock_that_is_a_little_ahead_is_forgiven_at_the_beginning(late: int) -> None:
    assert (await viewer(token(nbf=NOW + late, iat=NOW + late))).owner == "alice"


async def test_issuer_and_audience_are_those_of_the_settings() -> None:
    door = bearers(issuer="https://issuer", audience="taskql")
    right: dict[str, Any] = {"iss": "https://issuer", "aud": "taskql"}
    assert (await viewer(token(**right), door)).owner == "alice"
    assert (await viewer(token(**right | {"aud": ["other", "taskql"]}), door)).owner == "alice"
    assert "another issuer (iss)" in await refusal(token(**right | {"iss": "https://issuer/"}), door)
    assert "lacks `iss`" in await refusal(token(aud="taskql"), door)
    assert "somebody else (aud)" in await refusal(token(**right | {"aud": ["other"]}), door)
    assert "lacks `aud`" in await refusal(token(iss="https://issuer"), door)


async def test_algorithm_is_never_the_token_s_choice() -> None:
    pem = pem_of(RSA)
    door = bearers(public_key(pem, PUBLIC))
    assert (await viewer(token(RSA, "RS256"), door)).owner == "alice"
    # The public key, which everybody has, taken for a shared secret.
    head = forged({"alg": "HS256", "typ": "JWT"}, {"sub": "alice", "exp": NOW + 7_200}).rstrip(".")
    digest = hmac.new(pem.encode(), head.encode(), hashlib.sha256).digest()
    assert "(alg)" in await refusal(head + "." + forged({}, {}, digest).split(".")[2], door)
    assert "(alg)" in await refusal(token(RSA, "RS512"), door)
    assert "(alg)" in await refusal(token(EC, "ES256"), door)
    assert "(alg)" in await refusal(token(SECRET * 2, "HS512"))
    assert "signature" in await refusal(token(OTHER_RSA, "RS256"), door)


@pytest.mark.parametrize("alg", ["none", "None", "", None, 7, ["HS256"], "HS255"])
async def test_unsigned_token_counts_for_nothing(alg: Any) -> None:
    assert await refusal(forged({"alg": alg, "typ": "JWT"}, {"sub": "alice", "exp": NOW + 7_200}))


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "a.b",
        "a.b.c",
        "a.b.c.d.e",
        "....",
        "e30.e30.e30",
        "bnVsbA.bnVsbA.bnVsbA",
        token()[:-20],
        token() + "==",
    ],
)
async def test_what_is_no_token_is_refused(text: str) -> None:
    assert await refusal(text)


async def test_extensions_that_must_be_understood_are_not() -> None:
    assert await refusal(token(headers={"crit": ["exp"], "exp": 1}))
    assert "(crit)" in await refusal(token(headers={"crit": ["b64"], "b64": False}))


@pytest.mark.parametrize("kid", [None, "a", "../../etc/passwd", "' OR 1=1"])
async def test_key_id_means_nothing_where_there_is_one_key(kid: str | None) -> None:
    assert (await viewer(token(headers={"kid": kid} if kid else {}))).owner == "alice"


async def test_key_id_that_is_no_text_is_refused() -> None:
    assert await refusal(forged({"alg": "HS256", "kid": 7}, {"sub": "alice", "exp": NOW + 7_200}))


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
HEADER_NAMES = st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5c", "zip", "cty"])
CLAIM_NAMES = st.sampled_from(["sub", "scope", "exp", "nbf", "iat", "iss", "aud", "jti", "task"])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.dictionaries(HEADER_NAMES, JSONS), st.dictionaries(CLAIM_NAMES, JSONS))
def test_whatever_is_signed_makes_a_viewer_or_is_refused(header: Any, claims: Any) -> None:
    header = {"typ": "JWT", **header, "alg": "HS256"}
    head = forged(header, {"sub": "a", "exp": NOW + 7_200, **claims}).rpartition(".")[0]
    signature = urlsafe_b64encode(hmac.digest(SECRET.encode(), head.encode(), "sha256")).decode().rstrip("=")
    with suppress(Unauthenticated):
        found = asyncio.run(viewer(f"{head}.{signature}"))
        assert 1 <= len(found.owner) <= MAX_OWNER_CHARS


# ---------------------------------------------------------------- how it is borne


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "wants to know who asks"),
        (["Bearer one", "Bearer two"], "several Authorization headers"),
        (["Bearer one, Bearer two"], "characters in it that no token has"),
        (["Basic YTpi"], "another scheme than Bearer"),
        (["secret-token"], "another scheme than Bearer"),
        ([""], "another scheme than Bearer"),
        (["Bearer"], "has no token"),
        (["Bearer  "], "has no token"),
        (["Bearer to ken"], "characters in it that no token has"),
        (["Bearer t\xf6ken"], "characters in it that no token has"),
        (['Bearer "token"'], "characters in it that no token has"),
        ([f"Bearer {'x' * (MAX_TOKEN_CHARS + 1)}"], f"more than {MAX_TOKEN_CHARS} characters"),
    ],
)
async def test_header_that_is_wrong_is_explained(values: list[str], says: str) -> None:
    with pytest.raises(Unauthenticated, match=says.replace("(", r"\(")) as refused:
        await bearers().viewer(values)
    assert refused.value.token_given is bool(values)
    assert "token_" not in refused.value.message
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER   {}  ", "  Bearer {}"])
async def test_scheme_is_written_as_one_likes(form: str) -> None:
    assert (await bearers().viewer([form.format(token())])).owner == "alice"


def test_connection_init_says_who_asks_or_the_handshake_does() -> None:
    assert init_values({}, ["from the handshake"]) == ["from the handshake"]
    assert init_values({"other": 1}, []) == []
    for name in ("authorization", "Authorization"):
        assert init_values({name: "Bearer a"}, ["from the handshake"]) == ["Bearer a"]
    assert init_values({"authorization": "a", "Authorization": "b"}, []) == ["a", "b"]
    odds: list[Any] = [None, 7, ["Bearer a"], {}]
    for odd in odds:
        with pytest.raises(Unauthenticated, match="must be a text"):
            init_values({"authorization": odd}, ["from the handshake"])


# ---------------------------------------------------------------- what is remembered


class ChangingKeys:
    """Keys that a test changes; counts how often they are asked for."""

    def __init__(self) -> None:
        self.generation = 0
        self.asked = 0
        self.secret = SECRET

    def freshen(self) -> None:
        pass

    async def candidates(self, key_id: str | None) -> Any:
        self.asked += 1
        return await secret_key(self.secret, ["HS256"]).candidates(key_id)


async def test_token_is_checked_once_and_again_when_the_keys_change() -> None:
    keys = ChangingKeys()
    door = bearers(keys)
    text = token()
    assert await viewer(text, door) is await viewer(text, door)
    assert keys.asked == 1
    keys.secret, keys.generation = "x" * 32, 1
    assert "signature" in await refusal(text, door)


async def test_remembered_token_ends_when_it_should() -> None:
    clock = [float(NOW)]
    door = bearers(clock=lambda: clock[0])
    text = token(exp=NOW + 7_200)
    await viewer(text, door)
    clock[0] = NOW + 7_199.9
    await viewer(text, door)
    clock[0] = NOW + 7_200
    assert "has ended" in await refusal(text, door)


async def test_memory_for_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gql.authentication.MAX_REMEMBERED", 3)
    assert MAX_REMEMBERED > 3
    keys = ChangingKeys()
    door = bearers(keys)
    texts = [token(sub=f"owner-{number}") for number in range(5)]
    for text in [*texts, *texts[2:]]:
        await viewer(text, door)
    assert keys.asked == 5
    await viewer(texts[0], door)
    assert keys.asked == 6


# ---------------------------------------------------------------- watch tokens


async def watch_token(seconds: int = 60) -> str:
    text, _ = await WatchTokens(stub_secret).issue("alice", TASK_ID, timedelta(seconds=seconds))
    return text


async def test_watch_token_is_for_one_task_and_has_no_scope() -> None:
    found = await viewer(await watch_token())
    assert (found.owner, found.scopes, found.watches) == ("alice", frozenset(), TASK_ID)
    assert found.may_watch(TASK_ID)
    assert not found.may_watch(UUID(int=1))
    assert not any(map(found.may, Scope))


async def test_watch_is_not_ended_with_the_watch_token() -> None:
    found = await viewer(await watch_token())
    assert found.expires_at is not None
    assert found.has_ended(found.expires_at)
    assert not found.is_out(found.expires_at)
    assert found.lasts(0) is None


async def test_no_token_passes_for_one_of_the_other_sort() -> None:
    watching = await watch_token()
    own_key = await stub_secret("watch-tokens")
    claims = jwt.decode(watching, options={"verify_signature": False})
    # A user's key makes no watch token, and TaskQL's key no user's.
    assert "signature" in await refusal(token(headers={"typ": "taskql-watch+jwt"}, aud="taskql:watch"))
    assert "signature" in await refusal(token(own_key, scope="tasks:admin"))
    # Even if somebody chose the same key for both.
    same = bearers(secret_key(own_key.decode(), ["HS256"]))
    assert "(aud)" in await refusal(token(own_key, **claims), same)
    assert "lacks `aud`" in await refusal(token(own_key, headers={"typ": "taskql-watch+jwt"}), same)


async def test_watch_token_that_has_ended_or_was_changed_counts_for_nothing() -> None:
    assert "has ended" in await refusal(await watch_token(seconds=0))
    head, body, signature = (await watch_token()).split(".")
    other = forged({}, {"sub": "bob", "task": str(TASK_ID), "aud": "taskql:watch", "exp": NOW + 7_200})
    assert "signature" in await refusal(f"{head}.{other.split('.')[1]}.{signature}")
    own_key = await stub_secret("watch-tokens")
    nothing: dict[str, Any] = {"headers": {"typ": "taskql-watch+jwt"}, "aud": "taskql:watch"}
    assert "names no task" in await refusal(token(own_key, **nothing))
    assert "names no task" in await refusal(token(own_key, task="x", **nothing))
    assert body


# ---------------------------------------------------------------- keys in settings


@pytest.mark.parametrize(
    ("pem", "algorithms", "says"),
    [
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", PUBLIC, "can't be read"),
        (pem_of(RSA), ["ES256"], "is no key for ES256"),
        (pem_of(EC), ["RS256", "ES384"], "is no key for RS256 or ES384"),
    ],
)
def test_public_key_that_can_check_nothing_stops_the_start(
    pem: str, algorithms: list[str], says: str
) -> None:
    with pytest.raises(StartupError, match=says):
        public_key(pem, algorithms)
