"""Settings: read once from the environment and `.env`, validated across fields, then passed explicitly.

Invariant: frozen, and complete at boot; a wrong value stops the process and names the variable.
.env.example and the README list them all, which tests/unit/test_settings.py checks.
"""

import re
from datetime import timedelta
from typing import Annotated, Literal, Self, TypeVar

from dotenv import load_dotenv
from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from taskql.access import AccessSettings
from taskql.errors import StartupError
from taskql.limits import LimitSettings
from taskql.logs import LogFormat
from taskql.policy import MAX_STORED_RESULT_BYTES, Policy
from taskql.queues import Queue

Some = TypeVar("Some", bound=BaseSettings)
LogLevel = Literal["debug", "info", "warning", "error"]
ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")


def http_url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("a queue's URL starts with https:// or http://")
    return text


def fifo_url(text: str) -> str:
    if not text.endswith(".fifo"):
        raise ValueError("a FIFO queue's URL ends in .fifo")
    return text


def named_origins(text: str) -> str:
    """Origins as browsers name them: a scheme, a host, a port that is not the scheme's own, and no more."""
    for origin in comma_separated(text):
        if origin != "*" and not ORIGIN.fullmatch(origin):
            raise ValueError("an origin looks like https://app.example.com or http://localhost:5173, or is *")
    return text


def comma_separated(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


QueueUrl = Annotated[str, AfterValidator(http_url)]
FifoQueueUrl = Annotated[QueueUrl, AfterValidator(fifo_url)]
Origins = Annotated[str, AfterValidator(named_origins)]


class HandlerSettings(BaseSettings):
    """Which handlers there are: all that the schema depends on."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    task_handlers: str = Field(
        "", description="Modules to import besides the kinds that ship, comma-separated"
    )

    @property
    def handler_modules(self) -> list[str]:
        return comma_separated(self.task_handlers)


class DatabaseSettings(HandlerSettings):
    """Where tasks are stored, besides: all that holding the two against each other needs."""

    database_url: str = Field(description="PostgreSQL 18: postgresql://user:password@host:port/database")


class Settings(LimitSettings, AccessSettings, DatabaseSettings):
    """Everything that can be set from outside. Durations are in the unit that the name tells."""

    database_replica_url: str | None = Field(
        None, description="A streaming replica of it, from which the API reads lists; unset: none"
    )
    redis_url: str = Field(
        description="Redis or Valkey, one server or a cluster: redis://host:port/0, rediss:// or unix:///path"
    )
    sqs_queue_url: QueueUrl = Field(description="URL of the SQS queue that carries tasks")
    sqs_high_queue_url: QueueUrl = Field(description="URL of the SQS queue for tasks of priority HIGH")
    sqs_low_queue_url: QueueUrl = Field(description="URL of the SQS queue for tasks of priority LOW")
    sqs_fifo_queue_url: FifoQueueUrl = Field(
        description="URL of the SQS FIFO queue for tasks with an ordering key; it ends in .fifo"
    )
    sqs_dlq_url: QueueUrl = Field(description="URL of the SQS queue for dead letters")
    sqs_fifo_dlq_url: FifoQueueUrl = Field(
        description="URL of the SQS FIFO queue for dead letters of tasks with an ordering key"
    )
    aws_endpoint_url: str | None = Field(
        None, description="Where AWS is, if not at AWS itself: an emulator's URL"
    )
    aws_region: str | None = Field(
        None, description="Region of the queues; the AWS SDK's own settings apply too"
    )
    results_bucket: str | None = Field(
        None, description="S3 bucket for results above 64 KiB; unset, none may be larger"
    )
    host: str = Field("127.0.0.1", description="Address that the API listens on")
    port: int = Field(8000, ge=1, le=65535, description="Port that the API listens on")
    workers: int = Field(1, ge=1, le=64, description="API processes that share the port: as many as cores")
    log_level: LogLevel = Field("info", description="debug, info, warning or error")
    taskql_log_format: LogFormat = Field(
        "text", description="text, or json: one object a line, for what collects logs"
    )

    taskql_concurrency: int = Field(20, ge=1, le=1000, description="Tasks that one consumer runs at a time")
    taskql_visibility_seconds: float = Field(
        60, ge=2, le=43_200, description="How long a lease and a message's invisibility last unless extended"
    )
    taskql_heartbeat_seconds: float = Field(
        20, gt=0, description="How often a running task extends both; less than half of the above"
    )
    taskql_poll_seconds: int = Field(
        20,
        ge=1,
        le=20,
        description="How long a poll waits for messages; a stopping consumer lets the open one finish",
    )
    taskql_resend_seconds: float = Field(
        60,
        ge=1,
        le=1_209_600,
        description="A message is lost once the queue has delivered what was sent this much later",
    )
    taskql_drain_seconds: float = Field(
        25, ge=0, le=43_200, description="How long a stopping consumer waits for what runs"
    )
    taskql_patience_seconds: float = Field(
        30,
        gt=0,
        le=3600,
        description="How long a starting process waits for PostgreSQL, SQS and each lifespan",
    )
    taskql_retention_days: float | None = Field(
        None,
        gt=0,
        le=36_500,
        description="Terminal tasks that are older are deleted; unset, all are kept",
    )
    taskql_database_pool: int = Field(
        10, ge=2, le=500, description="Connections to PostgreSQL of one process, at most"
    )
    taskql_unknown_kind_seconds: float = Field(
        900,
        gt=0,
        le=2_592_000,
        description="How long a task may meet only workers that don't know its kind; then it is FAILED",
    )
    taskql_expose_errors: Literal["on", "off"] = Field(
        "off",
        description="Whether failures show the text of any exception, and not its class alone; on or off",
    )

    taskql_max_result_bytes: int = Field(
        10 * 1024 * 1024,
        ge=MAX_STORED_RESULT_BYTES,
        le=100 * 1024 * 1024,
        description="The largest result, as JSON; without RESULTS_BUCKET it is 64 KiB",
    )
    taskql_results: Literal["large", "all"] = Field(
        "large", description="Which results go to RESULTS_BUCKET: those above 64 KiB, or all; large or all"
    )
    taskql_status_cache: Literal["on", "off"] = Field(
        "on",
        description="Whether task(id) is answered from Redis where it can be; on or off, alike everywhere",
    )
    taskql_sqs_client: Literal["lean", "botocore"] = Field(
        "lean",
        description="Who makes the frequent requests to SQS: TaskQL itself, or botocore; lean or botocore",
    )

    taskql_cors_origins: Origins = Field(
        "",
        description="Origins whose pages may use the API, comma-separated: https://app.example.com; * is all",
    )

    @field_validator(
        "log_level",
        "taskql_expose_errors",
        "taskql_log_format",
        "taskql_results",
        "taskql_status_cache",
        "taskql_sqs_client",
        mode="before",
    )
    @classmethod
    def _in_lower_case(cls, word: object) -> object:
        return word.lower() if isinstance(word, str) else word

    @model_validator(mode="after")
    def _heartbeat_keeps_the_lease(self) -> Self:
        if self.taskql_heartbeat_seconds >= self.taskql_visibility_seconds / 2:
            raise ValueError(
                "TASKQL_HEARTBEAT_SECONDS must be less than half of TASKQL_VISIBILITY_SECONDS, "
                "so that one missed heartbeat does not lose the lease"
            )
        return self

    @model_validator(mode="after")
    def _not_every_page_without_a_token(self) -> Self:
        if "*" in self.cors_origins and self.auth == "none":
            raise ValueError(
                "TASKQL_CORS_ORIGINS=* needs AUTH=jwt: without tokens, every page that somebody opens near "
                "the API could create and cancel tasks; name the origins"
            )
        return self

    @model_validator(mode="after")
    def _all_results_need_a_bucket(self) -> Self:
        if self.taskql_results == "all" and self.results_bucket is None:
            raise ValueError("TASKQL_RESULTS=all needs RESULTS_BUCKET, the S3 bucket that they go to")
        return self

    @property
    def policy(self) -> Policy:
        expose_errors = self.taskql_expose_errors == "on"
        if self.results_bucket is None:
            return Policy(expose_errors=expose_errors)
        return Policy(
            max_result_bytes=self.taskql_max_result_bytes,
            expose_errors=expose_errors,
            max_row_bytes=MAX_STORED_RESULT_BYTES if self.taskql_results == "large" else 0,
        )

    @property
    def queue_urls(self) -> dict[Queue, str]:
        return {
            Queue.HIGH: self.sqs_high_queue_url,
            Queue.NORMAL: self.sqs_queue_url,
            Queue.LOW: self.sqs_low_queue_url,
            Queue.FIFO: self.sqs_fifo_queue_url,
        }

    @property
    def dead_letter_urls(self) -> dict[Queue, str]:
        """Where the dead letters of each queue go: a FIFO queue's must be a FIFO queue."""
        return dict.fromkeys(Queue, self.sqs_dlq_url) | {Queue.FIFO: self.sqs_fifo_dlq_url}

    @property
    def has_status_cache(self) -> bool:
        return self.taskql_status_cache == "on"

    @property
    def is_for_this_machine(self) -> bool:
        """Whether nobody but this machine may ask, since nobody is asked who they are."""
        return self.auth == "none" and self.taskql_allow_unauthenticated == "off"

    @property
    def cors_origins(self) -> list[str]:
        return comma_separated(self.taskql_cors_origins)

    @property
    def has_lean_sqs_client(self) -> bool:
        return self.taskql_sqs_client == "lean"

    @property
    def visibility(self) -> timedelta:
        return timedelta(seconds=self.taskql_visibility_seconds)

    @property
    def heartbeat(self) -> timedelta:
        return timedelta(seconds=self.taskql_heartbeat_seconds)

    @property
    def poll(self) -> timedelta:
        return timedelta(seconds=self.taskql_poll_seconds)

    @property
    def resend_margin(self) -> timedelta:
        return timedelta(seconds=self.taskql_resend_seconds)

    @property
    def patience(self) -> timedelta:
        return timedelta(seconds=self.taskql_patience_seconds)

    @property
    def unknown_kind_patience(self) -> timedelta:
        return timedelta(seconds=self.taskql_unknown_kind_seconds)

    @property
    def retention(self) -> timedelta | None:
        return None if self.taskql_retention_days is None else timedelta(days=self.taskql_retention_days)

    @property
    def drain(self) -> timedelta:
        return timedelta(seconds=self.taskql_drain_seconds)


def load_handler_modules() -> list[str]:
    """The modules of TASK_HANDLERS, for what needs no other setting."""
    load_dotenv(".env")
    return HandlerSettings().handler_modules  # type: ignore[call-arg]


def load_database_settings() -> DatabaseSettings:
    """The same, and the database."""
    return loaded(DatabaseSettings)


def load_access_settings() -> AccessSettings:
    """What tokens are checked by, for what needs no other setting. Raises StartupError like load_settings."""
    return loaded(AccessSettings)


def load_settings() -> Settings:
    """The settings of this process. Raises StartupError naming each variable that is missing or wrong."""
    return loaded(Settings)


def loaded(kind: type[Some]) -> Some:
    """`.env` adds to the environment itself, so that the AWS SDK finds its own variables there too."""
    load_dotenv(".env")
    try:
        return kind()
    except ValidationError as error:
        raise StartupError("\n".join(map(explain, error.errors()))) from None


def explain(issue: object) -> str:
    """One wrong setting, in words that name the variable but never repeat its value."""
    assert isinstance(issue, dict)
    name = "_".join(map(str, issue["loc"])).upper()
    if issue["type"] == "missing":
        return f"{name} is not set: {Settings.model_fields[name.lower()].description}. See .env.example."
    reason = str(issue["msg"]).removeprefix("Value error, ")
    return f"{name}: {reason}" if name else reason
