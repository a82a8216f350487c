"""Who is let in, as the environment says: everybody, or bearers of tokens that one source of keys confirms.

Invariant: under AUTH=jwt there is exactly one such source, and the algorithms fit it: what a public key
verifies can never be forged by taking that key for a shared secret.
"""

import ipaddress
from enum import StrEnum
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MAX_OWNER_CHARS = 255
SHARED = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Algorithms, and how many bytes the secret has at least: fewer than the digest's could be guessed."""
PUBLIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
PEM_BEGINS = "-----BEGIN PUBLIC KEY-----"


class Scope(StrEnum):
    """What a token lets its bearer do; ADMIN includes the others."""

    READ = "tasks:read"
    WRITE = "tasks:write"
    ADMIN = "tasks:admin"


def long_enough(secret: SecretStr) -> SecretStr:
    if size_of(secret) < min(SHARED.values()):
        raise ValueError(
            "a secret has at least 32 bytes; "
            "`python -c 'import secrets; print(secrets.token_hex())'` makes one"
        )
    return secret


def size_of(secret: SecretStr) -> int:
    return len(secret.get_secret_value().encode())


def pem(text: str) -> str:
    """The key with line ends where environments can only have `\\n`."""
    key = text.replace("\\n", "\n").strip()
    if not key.startswith(PEM_BEGINS):
        raise ValueError(f"a public key in PEM starts with {PEM_BEGINS}")
    return key


def trusted_url(text: str) -> str:
    """Keys decide whom we believe, so nobody on the way may change them."""
    parts = urlsplit(text)
    if parts.scheme == "https" and parts.hostname:
        return text
    if parts.scheme == "http" and is_loopback(parts.hostname or ""):
        return text
    raise ValueError("keys are fetched over https://; plain http:// is for this machine alone")


def known_algorithms(text: str) -> str:
    if unknown := set(names_in(text)) - {*SHARED, *PUBLIC}:
        raise ValueError(f"{len(unknown)} of them are not known; choose from {', '.join((*SHARED, *PUBLIC))}")
    return text


class AccessSettings(BaseSettings):
    """What tokens are checked by."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    auth: Literal["none", "jwt"] = Field(
        "none",
        description="Who is let in: none (everybody, for one's own machine) or jwt (bearers of a token)",
    )
    jwt_secret: Annotated[SecretStr, AfterValidator(long_enough)] | None = Field(
        None, description="What tokens are signed with, where the issuer shares it with us; 32 bytes or more"
    )
    jwt_public_key: Annotated[str, AfterValidator(pem)] | None = Field(
        None, description="Or the issuer's public key in PEM; line ends may be written as \\n"
    )
    jwt_jwks_url: Annotated[str, AfterValidator(trusted_url)] | None = Field(
        None, description="Or where the issuer publishes its keys: https://issuer/.well-known/jwks.json"
    )
    jwt_issuer: str | None = Field(None, description="The `iss` that tokens must have; unset, any")
    jwt_audience: str | None = Field(
        None, description="The `aud` that tokens must name; unset, those that name one are refused"
    )
    jwt_algorithms: Annotated[str, AfterValidator(known_algorithms)] | None = Field(
        None,
        description="How tokens may be signed, comma-separated; unset: HS256 with a secret, else RS256,ES256",
    )
    taskql_allow_unauthenticated: Literal["on", "off"] = Field(
        "off", description="Whether AUTH=none may listen beyond this machine; on or off"
    )

    @field_validator("auth", "taskql_allow_unauthenticated", mode="before")
    @classmethod
    def _access_in_lower_case(cls, word: object) -> object:
        return word.lower() if isinstance(word, str) else word

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> Self:
        if self.auth == "none":
            return self
        sources = (self.jwt_secret, self.jwt_public_key, self.jwt_jwks_url)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("AUTH=jwt takes exactly one of JWT_SECRET, JWT_PUBLIC_KEY and JWT_JWKS_URL")
        if misfits := set(self.algorithms) - set(SHARED if self.jwt_secret else PUBLIC):
            source = "JWT_SECRET" if self.jwt_secret else "JWT_PUBLIC_KEY or JWT_JWKS_URL"
            raise ValueError(f"JWT_ALGORITHMS: {', '.join(sorted(misfits))} does not go with {source}")
        if self.jwt_secret and (least := max(SHARED[name] for name in self.algorithms)) > size_of(
            self.jwt_secret
        ):
            raise ValueError(f"JWT_SECRET: for these JWT_ALGORITHMS a secret has at least {least} bytes")
        return self

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The only ones that are accepted."""
        chosen = names_in(self.jwt_algorithms or "")
        return tuple(chosen) or (("HS256",) if self.jwt_secret else ("RS256", "ES256"))


def names_in(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def is_loopback(host: str) -> bool:
    """Whether what listens at this host is reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
