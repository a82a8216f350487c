"""PostgreSQL 18 through SQLAlchemy Core on asyncpg.

Invariant: every transition locks the task's dispatch row first and the task after it, in one statement, so
that transitions of one task queue up and never deadlock.
"""

from taskql.adapters.postgres.backlog import PostgresBacklog
from taskql.adapters.postgres.control import PostgresControl
from taskql.adapters.postgres.dead_letters import PostgresDeadLetters
from taskql.adapters.postgres.discarded import PostgresDiscarded
from taskql.adapters.postgres.dispatch import PostgresDispatch
from taskql.adapters.postgres.engine import open_engine
from taskql.adapters.postgres.grouped import GroupedTasks
from taskql.adapters.postgres.grouped_leases import GroupedLeases
from taskql.adapters.postgres.leases import PostgresLeases
from taskql.adapters.postgres.listings import PostgresListings
from taskql.adapters.postgres.migrations import migrate
from taskql.adapters.postgres.queues import PostgresQueues
from taskql.adapters.postgres.revisions import is_current, refuse_unmigrated
from taskql.adapters.postgres.secrets import PostgresSecrets
from taskql.adapters.postgres.tasks import PostgresTasks

__all__ = [
    "GroupedLeases",
    "GroupedTasks",
    "PostgresBacklog",
    "PostgresControl",
    "PostgresDeadLetters",
    "PostgresDiscarded",
    "PostgresDispatch",
    "PostgresLeases",
    "PostgresListings",
    "PostgresQueues",
    "PostgresSecrets",
    "PostgresTasks",
    "is_current",
    "migrate",
    "open_engine",
    "refuse_unmigrated",
]
