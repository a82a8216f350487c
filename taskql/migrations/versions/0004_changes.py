"""What has changed since a moment: the tasks that have yet to end, and those that ended after it.

A row leaves the first index and enters the second once, at its end (a retried task turns back). The condition
of the second is on `finished_at`, lest the planner take it for an index of listings.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    "CREATE INDEX tasks_unfinished ON tasks (owner, created_at, id) WHERE outcome IS NULL",
    "CREATE INDEX tasks_finished ON tasks (owner, finished_at) WHERE finished_at IS NOT NULL",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
