"""How much clients may ask for, as far as it can be set: docs/limits.md has them all."""

from dataclasses import dataclass
from typing import Self

from taskql.limits import MEBIBYTE, LimitSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be set of how much clients may ask for; the defaults are those of the settings."""

    tokens: int = 5_000
    depth: int = 15
    aliases: int = 50
    complexity: int = 25_000
    operation_seconds: float = 10
    request_bytes: int = MEBIBYTE
    connections: int = 20_000
    connections_per_address: int = 20_000
    subscriptions_per_connection: int = 1_000
    subscriptions_per_owner: int = 20_000
    introspection: bool = True

    @classmethod
    def of(cls, settings: LimitSettings) -> Self:
        return cls(
            tokens=settings.taskql_max_tokens,
            depth=settings.taskql_max_depth,
            aliases=settings.taskql_max_aliases,
            complexity=settings.taskql_max_complexity,
            operation_seconds=settings.taskql_max_operation_seconds,
            request_bytes=settings.taskql_max_request_bytes,
            connections=settings.taskql_max_connections,
            connections_per_address=settings.taskql_max_connections_per_address,
            subscriptions_per_connection=settings.taskql_max_subscriptions_per_connection,
            subscriptions_per_owner=settings.taskql_max_subscriptions_per_owner,
            introspection=settings.taskql_introspection == "on",
        )
