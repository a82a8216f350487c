"""Whether a database fits this version of ours: asked at every start, and so without Alembic, which is large.

Invariant: a revision is what the name of its file in taskql/migrations/versions begins with, and the newest
one is the last in that order.
"""

from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from taskql import migrations
from taskql.adapters.postgres.engine import connection
from taskql.errors import StartupError

VERSIONS = Path(migrations.__file__).parent / "versions"

IS_THERE = text("SELECT to_regclass('alembic_version') IS NOT NULL")
REVISION = text("SELECT version_num FROM alembic_version")


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
    if revision is not None and revision not in revisions():
        raise StartupError(
            f"A newer version of TaskQL has migrated the database (to {revision}; this one knows no more "
            f"than {newest_revision()}): run that version, or name another database in DATABASE_URL."
        )


def newest_revision() -> str:
    return revisions()[-1]


def revisions() -> list[str]:
    """The oldest one first."""
    return sorted(path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*.py"))


async def _revision(engine: AsyncEngine) -> str | None:
    async with connection(engine) as opened:
        if not await opened.scalar(IS_THERE):
            return None
        found: str | None = await opened.scalar(REVISION)
        return found
