"""Who asks, and what they may."""

from dataclasses import dataclass, field
from uuid import UUID

from gql.errors import Forbidden
from taskql.access import Scope

__all__ = ["LOCAL", "Scope", "Viewer"]


@dataclass(frozen=True, slots=True)
class Viewer:
    """A caller.

    `owner` is whose tasks they create. `expires_at` (seconds since the epoch) is when their token ends, None
    for one that does not; callers who differ in nothing else see the same. Who has come with a watch token
    may start to watch the task `watches`, and nothing else.
    """

    owner: str
    scopes: frozenset[Scope]
    expires_at: float | None = field(default=None, compare=False)
    watches: UUID | None = None

    def has_ended(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    def is_out(self, now: float) -> bool:
        """Whether what they watch has to end, too: with a watch token it may go on to the task's end."""
        return self.watches is None and self.has_ended(now)

    def lasts(self, now: float) -> float | None:
        """For how many seconds they may watch; None for without end."""
        if self.expires_at is None or self.watches is not None:
            return None
        return max(0.0, self.expires_at - now)

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def may_watch(self, task_id: UUID) -> bool:
        return self.watches in (None, task_id)

    def whose_when_asked_for(self, owner: str | None) -> str | None:
        """Whose tasks a listing shows that names `owner`, or nobody. Raises Forbidden."""
        if owner is None or owner == self.owner:
            return owner or self.whose
        if not self.may(Scope.ADMIN):
            raise Forbidden(
                f"`filter.owner` names somebody else: to see their tasks takes the scope {Scope.ADMIN}."
            )
        return owner

    @property
    def whose(self) -> str | None:
        """Whose tasks they see: their own; None for everybody's."""
        return None if Scope.ADMIN in self.scopes and self is not LOCAL else self.owner


LOCAL = Viewer("local", frozenset(Scope))
"""Everybody, while there is no authentication."""
