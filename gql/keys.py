"""The keys that tokens are checked by, where they are settings: a shared secret or a public key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import get_default_algorithms

from taskql.errors import StartupError

ALGORITHMS = get_default_algorithms()
MIN_RSA_BITS = 2048


@dataclass(frozen=True)
class Key:
    """What verifies signatures, and which algorithms may be used with it. `material` is cryptography's."""

    material: Any
    algorithms: tuple[str, ...]


class Keys(Protocol):
    """A source of keys. `generation` rises with every change: what older keys vouched for counts no more."""

    generation: int

    def freshen(self) -> None:
        """Called with each request: see to it that the keys are not too old. Never waits."""
        ...

    async def candidates(self, key_id: str | None) -> Sequence[Key]:
        """Those that may have signed a token that names this key. Raises Unavailable where it can't tell."""
        ...


class OneKey:
    """A key that does not change; whatever key a token names, it is this one or none."""

    generation = 0

    def __init__(self, key: Key) -> None:
        self._key = (key,)

    def freshen(self) -> None:
        pass

    async def candidates(self, key_id: str | None) -> Sequence[Key]:
        return self._key


def secret_key(secret: str, algorithms: Sequence[str]) -> OneKey:
    return OneKey(Key(secret.encode(), tuple(algorithms)))


def public_key(pem: str, algorithms: Sequence[str]) -> OneKey:
    """Raises StartupError where the PEM holds no key for any of the algorithms."""
    try:
        material = load_pem_public_key(pem.encode())
    except Exception:
        raise StartupError("JWT_PUBLIC_KEY can't be read as a public key in PEM.") from None
    fitting = fitting_algorithms(material, algorithms)
    if not fitting:
        raise StartupError(
            f"JWT_PUBLIC_KEY is no key for {' or '.join(algorithms)}: set JWT_ALGORITHMS to what the issuer "
            f"signs with. RSA keys have at least {MIN_RSA_BITS} bits."
        )
    return OneKey(Key(material, fitting))


def fitting_algorithms(material: Any, algorithms: Sequence[str]) -> tuple[str, ...]:
    """Those of the public-key algorithms that the key is for."""
    if isinstance(material, RSAPublicKey) and material.key_size < MIN_RSA_BITS:
        return ()
    return tuple(name for name in algorithms if fits(material, name))


def fits(material: Any, name: str) -> bool:
    if isinstance(material, EllipticCurvePublicKey) != name.startswith("ES"):
        return False
    try:
        ALGORITHMS[name].prepare_key(material)
    except Exception:  # each algorithm says no in its own way
        return False
    return True
