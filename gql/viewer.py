"""Who asks, and what they may."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Scope(StrEnum):
    """What a token lets its bearer do; ADMIN includes the others."""

    READ = "tasks:read"
    WRITE = "tasks:write"
    ADMIN = "tasks:admin"


@dataclass(frozen=True, slots=True)
class Viewer:
    """A caller.

    `owner` is whose tasks they create. `expires_at` (seconds since the epoch) is when their token ends, None
    for one that does not. Who has come with a watch token may watch the task `watches`, and nothing else.
    """

    owner: str
    scopes: frozenset[Scope]
    expires_at: float | None = None
    watches: UUID | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    @property
    def whose(self) -> str | None:
        """Whose tasks they see: their own; None for everybody's."""
        return None if Scope.ADMIN in self.scopes and self is not LOCAL else self.owner


LOCAL = Viewer("local", frozenset(Scope))
"""Everybody, while there is no authentication."""
