"""Keys and tokens for tests, as issuers make them, and as nobody should."""

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

SECRET = "a-secret-of-more-than-thirty-two-bytes"
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()

ALL_BUT_ADMIN = "tasks:read tasks:write"


def token(
    key: Any = SECRET, algorithm: str = "HS256", headers: Mapping[str, Any] | None = None, **claims: Any
) -> str:
    """Alice's token for an hour; a claim that is None is left out."""
    made = {"sub": "alice", "scope": ALL_BUT_ADMIN, "exp": int(time.time()) + 3600, **claims}
    present = {name: value for name, value in made.items() if value is not None}
    return jwt.encode(present, key, algorithm, headers=dict(headers or {}))


def forged(header: Mapping[str, Any], claims: Mapping[str, Any], signature: bytes = b"") -> str:
    """Three pieces, whatever they are."""
    pieces = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(urlsafe_b64encode(piece).decode().rstrip("=") for piece in pieces)


def pem_of(private: Any) -> str:
    """Its public key."""
    pem: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def jwk_of(private: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    """Its public key, as issuers publish it."""
    algorithm = {rsa.RSAPrivateKey: "RS256", ec.EllipticCurvePrivateKey: "ES256"}
    name = next((name for kind, name in algorithm.items() if isinstance(private, kind)), "EdDSA")
    made: Any = get_default_algorithms()[name]
    jwk: dict[str, Any] = json.loads(made.to_jwk(private.public_key()))
    jwk.pop("key_ops", None)
    return {**jwk, **({} if kid is None else {"kid": kid}), **more}
