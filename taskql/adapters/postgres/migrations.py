"""Running Alembic's migrations, one process at a time; and whether a database fits this version of ours."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql import migrations
from taskql.adapters.postgres.engine import connection, driver_error
from taskql.errors import StartupError

LOCK_KEY = 0x7461736B716C  # "taskql": several processes may start at once, one migrates


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


async def is_current(engine: AsyncEngine) -> bool:
    """Whether the database is at the newest revision."""
    return await _revision(engine) == newest_revision()


async def refuse_unmigrated(engine: AsyncEngine) -> None:
    """Raises StartupError unless the database is at the newest revision."""
    found = await _revision(engine)
    refuse_newer(found)
    if found != newest_revision():
        raise StartupError(
            "The database is not migrated to this version of TaskQL: run `python -m taskql migrate` first."
        )


def refuse_newer(revision: str | None) -> None:
    """Raises StartupError where a revision is not among ours."""
    if revision is not None and revision not in _revisions():
        raise StartupError(
            f"A newer version of TaskQL has migrated the database (to {revision}; this one knows no more "
            f"than {newest_revision()}): run that version, or name another database in DATABASE_URL."
        )


def newest_revision() -> str:
    return _scripts().get_current_head() or ""


async def _revision(engine: AsyncEngine) -> str | None:
    async with connection(engine) as opened:
        return await opened.run_sync(_revision_of)


def _revision_of(sync: Connection) -> str | None:
    return MigrationContext.configure(sync).get_current_revision()


def _revisions() -> set[str]:
    return {script.revision for script in _scripts().walk_revisions()}


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _upgrade(sync: Connection) -> None:
    sync.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
    refuse_newer(_revision_of(sync))
    config = _config()
    config.attributes["connection"] = sync
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    return config
