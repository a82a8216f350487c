"""Keys that all processes share and that nobody has to set."""

from typing import Protocol


class SecretStore(Protocol):
    """Secrets by name, each made by whoever asks for it first."""

    async def secret(self, name: str) -> bytes:
        """The same 32 random bytes to all who ask, now and later."""
        ...
