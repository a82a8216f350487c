"""Connections to Redis that fail fast: short time limits, and no retries that we did not ask for."""

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from taskql.errors import StartupError

LIMIT_SECONDS = 1.0
"""For whatever Redis should answer at once."""

OUTAGE = (RedisError, OSError)
"""What redis-py raises when Redis is away, beside a TimeoutError, which is an OSError."""


def impatient_client(url: str) -> Redis:
    """A client for single commands: one try each. (redis-py's own policy takes 14 s with a frozen server.)"""
    try:
        return Redis.from_url(
            url,
            socket_timeout=LIMIT_SECONDS,
            socket_connect_timeout=LIMIT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as error:
        raise StartupError(f"REDIS_URL can't be used: {error}. It looks like redis://host:6379/0.") from None


def account(error: Exception) -> str:
    """The error in words; redis-py's errors and timeouts are short of them, each in its own way."""
    return f"{type(error).__name__}: {error}"


def bare_connection(url: str) -> AbstractConnection:
    """A connection that its user reads, unlike redis-py's PubSub, which hides when it was made anew.

    It has no time limit for reading and writing: with one, redis-py would write in a task of its own, and
    commands could overtake each other.
    """
    pool = ConnectionPool.from_url(
        url,
        protocol=2,
        socket_timeout=None,
        socket_connect_timeout=LIMIT_SECONDS,
        health_check_interval=0,
        retry=Retry(NoBackoff(), 0),
    )
    connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
    return connection
