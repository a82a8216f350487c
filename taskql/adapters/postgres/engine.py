"""The engine, and the one place where a driver's errors become ours.

Each call of an adapter is one statement in autocommit: atomic by itself, one round trip, no open transaction
that could hold locks while we wait for anything else.
"""

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
from pydantic_core import from_json
from sqlalchemy import URL, make_url
from sqlalchemy.exc import DBAPIError, EmulatedDBAPIException, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from taskql.errors import Denied, StartupError, Unavailable

CONNECT_SECONDS = 3.0
STATEMENT_SECONDS = 15.0
POOL_WAIT_SECONDS = 10.0
KEPT_PLAN_SECONDS = 10
"""How long the plan of a `Statement` is kept: one that was made for small tables must not last."""
FROZEN_SECONDS = 10
"""How long a transaction may stand still: a frozen process must not keep its locks."""

APPLICATION = "taskql"
"""What our connections are called in pg_stat_activity: `as_of` tells by it who could yet change a task."""

OUTAGES: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    PoolTimeoutError,
    InterfaceError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection died in the middle of its protocol
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
"""What a server that restarts, a full one or a broken connection looks like."""
DENIALS = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)
"""How a server says that it does not know the user, the password or the database."""
PARAMETERS = set(inspect.signature(asyncpg.connect).parameters)
"""What a URL may ask for after its question mark, besides `sslmode`."""
COMPACT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@asynccontextmanager
async def open_engine(
    database_url: str,
    pool_size: int,
    *,
    ping_first: bool = False,
    statement_seconds: float | None = STATEMENT_SECONDS,
) -> AsyncIterator[AsyncEngine]:
    """An engine in autocommit over at most `pool_size` connections; closed on leaving.

    With `ping_first` each use of a connection begins with a round trip that makes a broken one anew. A
    statement may take `statement_seconds`; None: as long as it takes.
    """
    engine = create_async_engine(
        asyncpg_url(database_url),
        isolation_level="AUTOCOMMIT",
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_use_lifo=True,
        pool_pre_ping=ping_first,
        json_serializer=compact_json,
        json_deserializer=read_json,
        hide_parameters=True,  # titles and inputs belong into no log
        connect_args={
            "timeout": CONNECT_SECONDS,
            "command_timeout": statement_seconds,
            "max_cached_statement_lifetime": KEPT_PLAN_SECONDS,
            "server_settings": {"application_name": APPLICATION},
        },
    )
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection from the pool. An outage, here or in what is done with it, is raised as Unavailable."""
    with named_outages():
        async with engine.connect() as opened:
            yield opened


@contextmanager
def named_outages() -> Iterator[None]:
    """What drivers and pools raise while PostgreSQL is away, or lets nobody in, is raised as ours."""
    try:
        yield
    except OUTAGES as error:
        raise away(error) from error
    except (DBAPIError, EmulatedDBAPIException) as error:
        cause = driver_error(error)
        if isinstance(cause, DENIALS):
            raise Denied(f"PostgreSQL does not let us in: {cause}.") from error
        if isinstance(cause, OUTAGES) or (isinstance(error, DBAPIError) and error.connection_invalidated):
            raise away(error) from error
        raise


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection for the rare change that takes more than one statement: all of them, or none."""
    async with connection(engine) as opened:
        await opened.execution_options(isolation_level="READ COMMITTED")
        async with opened.begin():
            await opened.exec_driver_sql(
                f"SET LOCAL idle_in_transaction_session_timeout = '{FROZEN_SECONDS}s'"
            )
            yield opened


async def is_reachable(engine: AsyncEngine) -> bool:
    try:
        async with asyncio.timeout(CONNECT_SECONDS), connection(engine) as opened:
            await opened.exec_driver_sql("SELECT 1")
    except (Unavailable, TimeoutError):
        return False
    return True


def driver_error(error: DBAPIError | EmulatedDBAPIException) -> BaseException | None:
    """asyncpg's own exception below SQLAlchemy's two layers, or below the lower one alone."""
    emulated = error.orig if isinstance(error, DBAPIError) else error
    return emulated.__cause__ if emulated is not None else None


def away(error: BaseException) -> Unavailable:
    # The text of other errors can hold the statement's parameters, which belong into no log.
    account = f"{type(error).__name__}: {error}" if isinstance(error, OSError) else type(error).__name__
    return Unavailable(f"PostgreSQL does not answer ({account}).")


def asyncpg_url(database_url: str) -> URL:
    """A conventional PostgreSQL URL as SQLAlchemy wants it for asyncpg."""
    try:
        url = make_url(database_url)
    except Exception:
        raise StartupError(
            "DATABASE_URL is no URL; it looks like postgresql://user:password@host:5432/database."
        ) from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise StartupError("DATABASE_URL must start with postgresql://.")
    # asyncpg knows all values of libpq's `sslmode`, under another name.
    query = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
    if unknown := sorted(query.keys() - PARAMETERS):
        raise StartupError(f"DATABASE_URL has parameters that are not known: {', '.join(unknown)}.")
    return url.set(drivername="postgresql+asyncpg", query=query)


def compact_json(value: object) -> str:
    return COMPACT.encode(value)


def read_json(text: str) -> object:
    """pydantic's reader is the quicker one, but does not go as deep as Python's."""
    try:
        return from_json(text)
    except ValueError:
        return json.loads(text)
