"""How much clients may ask for, as the environment says; docs/limits.md says what they see beyond it."""

from math import ceil
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MEBIBYTE = 1024 * 1024


class LimitSettings(BaseSettings):
    """Limits of the API. Those on what is open count in each process by itself."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    taskql_max_tokens: int = Field(5_000, ge=100, le=100_000, description="Tokens of a GraphQL document")
    taskql_max_depth: int = Field(15, ge=1, le=100, description="Levels of nested fields in an operation")
    taskql_max_aliases: int = Field(50, ge=0, le=500, description="Aliases in an operation")
    taskql_max_complexity: int = Field(
        25_000,
        ge=100,
        le=10_000_000,
        description="What an operation may cost: fields, times list sizes",
    )
    taskql_max_operation_seconds: float = Field(
        10, gt=0, le=3_600, description="How long a query or a mutation may take"
    )
    taskql_max_request_bytes: int = Field(
        MEBIBYTE,
        ge=1_024,
        le=64 * MEBIBYTE,
        description="Size of a body or of a WebSocket message",
    )
    taskql_max_connections: int = Field(
        20_000, ge=1, le=1_000_000, description="WebSockets and event streams open at a time"
    )
    taskql_max_connections_per_address: int = Field(
        20_000, ge=1, le=1_000_000, description="Of those, from one address"
    )
    taskql_max_subscriptions_per_connection: int = Field(
        1_000, ge=1, le=100_000, description="Operations open at a time over one WebSocket"
    )
    taskql_max_subscriptions_per_owner: int = Field(
        20_000, ge=1, le=1_000_000, description="Operations open at a time over all connections of one owner"
    )
    taskql_rate_limit: float | None = Field(
        None, gt=0, le=1_000_000, description="Requests a second of one owner, in the long run; unset: any"
    )
    taskql_rate_burst: int | None = Field(
        None, ge=1, le=1_000_000, description="Requests of one owner at once; unset: what ten seconds allow"
    )
    taskql_trusted_documents: Path | None = Field(
        None,
        description="Folder of the only documents that run, *.graphql; unset: any document runs",
    )
    taskql_introspection: Literal["on", "off"] = Field(
        "on", description="Whether clients may ask for the schema; on or off"
    )
    taskql_trusted_proxies: str | None = Field(
        None, description="Addresses of proxies whose X-Forwarded-For counts, comma-separated; unset: none"
    )

    @field_validator("taskql_introspection", mode="before")
    @classmethod
    def _switch_in_lower_case(cls, word: object) -> object:
        return word.lower() if isinstance(word, str) else word

    @model_validator(mode="after")
    def _burst_needs_a_limit(self) -> Self:
        if self.taskql_rate_burst is not None and self.taskql_rate_limit is None:
            raise ValueError("TASKQL_RATE_BURST says nothing without TASKQL_RATE_LIMIT; set both or neither")
        return self

    @property
    def rate_burst(self) -> int:
        """What an owner may ask for at once."""
        assert self.taskql_rate_limit is not None
        return self.taskql_rate_burst or ceil(10 * self.taskql_rate_limit)
