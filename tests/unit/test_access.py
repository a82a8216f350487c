"""Who is let in: settings that fit each other, or a refusal at boot; where an open API may listen; tokens for
development.
"""

import os
import time
from pathlib import Path
from typing import NoReturn

import jwt
import pytest

from gql.__main__ import serve
from taskql.__main__ import main
from taskql.access import PUBLIC, SHARED, AccessSettings, is_loopback
from taskql.errors import StartupError
from taskql.settings import Settings, load_access_settings
from tests.deployment import free_port
from tests.tokens import RSA, SECRET, pem_of

PEM = pem_of(RSA)
URL = "https://issuer/.well-known/jwks.json"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings, in a folder without .env."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    monkeypatch.chdir(tmp_path)


def access(**variables: str) -> AccessSettings:
    os.environ.update(variables)
    return load_access_settings()


def refusal(**variables: str) -> str:
    with pytest.raises(StartupError) as refused:
        access(**variables)
    message = str(refused.value)
    assert not [value for value in variables.values() if len(value) > 8 and value in message]
    return message


def test_without_a_word_everybody_is_let_in() -> None:
    assert (access().auth, access().taskql_allow_unauthenticated) == ("none", "off")


@pytest.mark.parametrize(
    ("source", "algorithms"),
    [
        ({"JWT_SECRET": SECRET}, ("HS256",)),
        ({"JWT_PUBLIC_KEY": PEM}, ("RS256", "ES256")),
        ({"JWT_JWKS_URL": URL}, ("RS256", "ES256")),
        ({"JWT_SECRET": SECRET * 2, "JWT_ALGORITHMS": "HS512"}, ("HS512",)),
        ({"JWT_JWKS_URL": URL, "JWT_ALGORITHMS": " ES384 , EdDSA,"}, ("ES384", "EdDSA")),
    ],
)
def test_algorithms_are_pinned_by_the_kind_of_key(
    source: dict[str, str], algorithms: tuple[str, ...]
) -> None:
    assert access(AUTH="JWT", **source).algorithms == algorithms


@pytest.mark.parametrize(
    "sources",
    [
        {},
        {"JWT_SECRET": SECRET, "JWT_PUBLIC_KEY": PEM},
        {"JWT_SECRET": SECRET, "JWT_JWKS_URL": URL},
        {"JWT_PUBLIC_KEY": PEM, "JWT_JWKS_URL": URL},
        {"JWT_SECRET": SECRET, "JWT_PUBLIC_KEY": PEM, "JWT_JWKS_URL": URL},
    ],
)
def test_there_is_exactly_one_source_of_keys(sources: dict[str, str]) -> None:
    assert "exactly one of JWT_SECRET, JWT_PUBLIC_KEY and JWT_JWKS_URL" in refusal(AUTH="jwt", **sources)


@pytest.mark.parametrize("algorithm", SHARED)
def test_public_key_is_never_taken_for_a_secret(algorithm: str) -> None:
    for source in ({"JWT_PUBLIC_KEY": PEM}, {"JWT_JWKS_URL": URL}):
        for names in (algorithm, f"RS256,{algorithm}"):
            assert f"{algorithm} does not go with" in refusal(AUTH="jwt", JWT_ALGORITHMS=names, **source)
        del os.environ[next(iter(source))]


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_secret_is_never_taken_for_a_public_key(algorithm: str) -> None:
    assert f"{algorithm} does not go" in refusal(AUTH="jwt", JWT_ALGORITHMS=algorithm, JWT_SECRET=SECRET)


@pytest.mark.parametrize("names", ["none", "HS256,none", "hs256", "RS256;ES256"])
def test_unknown_algorithms_are_refused_and_none_is_unknown(names: str) -> None:
    assert refusal(AUTH="jwt", JWT_SECRET=SECRET, JWT_ALGORITHMS=names).startswith("JWT_ALGORITHMS: ")


def test_secret_is_as_long_as_the_digest() -> None:
    assert "at least 32 bytes" in refusal(AUTH="jwt", JWT_SECRET="x" * 31)
    assert access(AUTH="jwt", JWT_SECRET="x" * 32).auth == "jwt"
    assert access(AUTH="jwt", JWT_SECRET="ü" * 16).auth == "jwt"
    assert "at least 48 bytes" in refusal(AUTH="jwt", JWT_SECRET="x" * 47, JWT_ALGORITHMS="HS384,HS256")


def test_secret_does_not_show() -> None:
    settings = access(AUTH="jwt", JWT_SECRET=SECRET)
    assert SECRET not in f"{settings} {settings!r} {settings.model_dump()}"


@pytest.mark.parametrize("form", [PEM, PEM.strip(), PEM.replace("\n", "\\n")])
def test_public_key_is_pem_on_one_line_or_many(form: str) -> None:
    assert access(AUTH="jwt", JWT_PUBLIC_KEY=form).jwt_public_key == PEM.strip()


@pytest.mark.parametrize(
    "form", ["-----BEGIN PRIVATE KEY-----\nAAAA", "ssh-rsa AAAAB3NzaC1yc2E", "/etc/key.pem"]
)
def test_other_forms_of_keys_are_refused(form: str) -> None:
    assert refusal(AUTH="jwt", JWT_PUBLIC_KEY=form).startswith("JWT_PUBLIC_KEY: a public key in PEM")


@pytest.mark.parametrize(
    ("url", "trusted"),
    [
        (URL, True),
        ("http://localhost:9/keys", True),
        ("http://127.0.0.1:9/keys", True),
        ("http://[::1]:9/keys", True),
        ("http://issuer/keys", False),
        ("http://localhost.issuer/keys", False),
        ("https://", False),
        ("file:///etc/keys", False),
        ("issuer/keys", False),
    ],
)
def test_keys_come_by_a_way_on_which_nobody_can_change_them(url: str, trusted: bool) -> None:
    if trusted:
        assert access(AUTH="jwt", JWT_JWKS_URL=url).jwt_jwks_url == url
    else:
        assert refusal(AUTH="jwt", JWT_JWKS_URL=url).startswith(
            "JWT_JWKS_URL: keys are fetched over https://"
        )


@pytest.mark.parametrize("word", ["", "yes", "basic"])
def test_auth_is_one_of_two(word: str) -> None:
    if word:
        assert refusal(AUTH=word).startswith("AUTH: ")
    else:
        assert access(AUTH=word).auth == "none"


# ---------------------------------------------------------------- where it listens


class Serving(Exception):
    """The API would serve now."""


def serving(monkeypatch: pytest.MonkeyPatch, host: str, **variables: str) -> None:
    """Start the API as far as its first service. Raises Serving, or what keeps it from serving."""

    def serve_now(*_: object) -> NoReturn:
        raise Serving

    monkeypatch.setattr("gql.__main__.open_api", serve_now)
    settings = Settings.model_construct(**access(**variables).model_dump(), host=host, port=free_port())
    serve(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost"])
def test_on_this_machine_everybody_may_be_let_in(
    host: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Serving):
        serving(monkeypatch, host)
    assert f"AUTH=none: whoever reaches {host} may see and do everything" in caplog.messages


def test_beyond_it_only_where_somebody_has_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartupError, match="TASKQL_ALLOW_UNAUTHENTICATED=on"):
        serving(monkeypatch, "0.0.0.0")
    with pytest.raises(Serving):
        serving(monkeypatch, "0.0.0.0", TASKQL_ALLOW_UNAUTHENTICATED="On")
    with pytest.raises(Serving):
        serving(monkeypatch, "0.0.0.0", TASKQL_ALLOW_UNAUTHENTICATED="off", AUTH="jwt", JWT_SECRET=SECRET)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_this_machine_has_several_names(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "taskql", "127.0.0.1.example"])
def test_other_names_may_be_anybody_s(host: str) -> None:
    assert not is_loopback(host)


# ---------------------------------------------------------------- tokens for development


def test_development_token_is_printed_alone_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    os.environ.update(JWT_SECRET=SECRET, JWT_ISSUER="https://me", JWT_AUDIENCE="taskql")
    assert main(["token", "--owner", "alice", "--scope", "tasks:read tasks:admin", "--hours", "2"]) == 0
    text = capsys.readouterr().out.removesuffix("\n")
    claims = jwt.decode(text, SECRET, ["HS256"], issuer="https://me", audience="taskql")
    assert (claims["sub"], claims["scope"]) == ("alice", "tasks:read tasks:admin")
    assert abs(claims["exp"] - time.time() - 7200) < 60


@pytest.mark.parametrize(
    ("variables", "arguments", "says"),
    [
        ({}, [], "JWT_SECRET is not set"),
        ({"AUTH": "jwt", "JWT_PUBLIC_KEY": PEM}, [], "JWT_SECRET is not set"),
        ({"JWT_SECRET": "short"}, [], "JWT_SECRET: a secret has at least 32 bytes"),
        ({"JWT_SECRET": SECRET, "JWT_ALGORITHMS": "RS256"}, [], "RS256 does not go with JWT_SECRET"),
        ({"JWT_SECRET": SECRET}, ["--scope", "tasks:reed"], "There is no scope tasks:reed; choose from"),
        ({"JWT_SECRET": SECRET}, ["--owner", ""], "An owner has 1 to 255 characters"),
        ({"JWT_SECRET": SECRET}, ["--hours", "0"], "the number of hours is a number from 1"),
    ],
)
def test_token_that_could_not_be_used_is_not_made(
    variables: dict[str, str], arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ.update(variables)
    with pytest.raises(SystemExit) as ended:
        main(["token", "--owner", "alice", *arguments])
    assert ended.value.code
    said = capsys.readouterr()
    assert says in f"{ended.value.code} {said.err}"
    assert said.out == ""
