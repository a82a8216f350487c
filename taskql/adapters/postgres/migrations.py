"""Running Alembic's migrations, one process at a time."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql import migrations
from taskql.adapters.postgres.engine import connection

LOCK_KEY = 0x7461736B716C  # "taskql": several processes may start at once, one migrates


async def migrate(engine: AsyncEngine) -> str:
    """Bring the database to the newest revision; answers that revision."""
    transactional = engine.execution_options(isolation_level="READ COMMITTED")
    async with connection(transactional) as opened, opened.begin():
        await opened.run_sync(_upgrade)
    return newest_revision()


async def is_current(engine: AsyncEngine) -> bool:
    """Whether the database is at the newest revision."""
    async with connection(engine) as opened:
        found = await opened.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    return found == newest_revision()


def newest_revision() -> str:
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _upgrade(sync: Connection) -> None:
    sync.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
    config = _config()
    config.attributes["connection"] = sync
    command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    return config
