"""Running Alembic's migrations, one process at a time."""

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql.adapters.postgres.engine import connection, driver_error
from taskql.adapters.postgres.revisions import VERSIONS, newest_revision, refuse_newer
from taskql.errors import StartupError

LOCK_KEY = 0x7461736B716C  # "taskql": several processes may start at once, one migrates
LOCK_PATIENCE = "15s"
"""How long a migration waits for a table that a backup holds, say: all who come meanwhile wait behind it."""


async def migrate(engine: AsyncEngine) -> str:
    """Bring the database to the newest revision; answers that revision. Raises StartupError if it can't."""
    transactional = engine.execution_options(isolation_level="READ COMMITTED")
    try:
        async with connection(transactional) as opened, opened.begin():
            await opened.run_sync(_upgrade)
    except DBAPIError as error:
        raise StartupError(
            f"PostgreSQL refused a migration, so nothing was changed: {driver_error(error)}. "
            "TaskQL needs PostgreSQL 18, a database of its own, and a user who may create tables in it."
        ) from error
    return newest_revision()


def _upgrade(sync: Connection) -> None:
    from alembic import command  # a tenth of a second that only migrating is worth
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext

    sync.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
    sync.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_PATIENCE}'")
    refuse_newer(MigrationContext.configure(sync).get_current_revision())
    config = Config()
    config.set_main_option("script_location", str(VERSIONS.parent).replace("%", "%%"))
    config.attributes["connection"] = sync
    command.upgrade(config, "head")
