"""However many tasks wait, upkeep and listings find the few that they are after.

`leased` changes when an attempt begins and when it ends, and no index names the lease itself: heartbeats stay
heap-only updates. An unfinished task has changed since its creation only if its attempt runs (`leased`), or
if it came back to PENDING (`returned_at`).
"""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = (
    "ALTER TABLE dispatch ADD COLUMN leased boolean NOT NULL "
    "GENERATED ALWAYS AS (lease_expires_at IS NOT NULL) STORED, "
    "ADD COLUMN returned_at timestamptz",
    "COMMENT ON COLUMN dispatch.returned_at IS 'When the task last came back to PENDING.'",
    "UPDATE dispatch d SET returned_at = t.updated_at FROM tasks t "
    "WHERE t.id = d.task_id AND t.outcome IS NULL AND t.status = 'PENDING' AND t.version > 1",
    "CREATE INDEX dispatch_leased ON dispatch (task_id) WHERE leased",
    "CREATE INDEX dispatch_sent ON dispatch (queue, sent_at) WHERE sent_at IS NOT NULL AND NOT leased",
    "CREATE INDEX dispatch_returned ON dispatch (returned_at) WHERE returned_at IS NOT NULL",
    "CREATE INDEX dead_letters_sent ON dead_letters (sent_at) WHERE sent_at IS NOT NULL",
    "CREATE INDEX discarded_results_waiting ON discarded_results (reserved_until NULLS FIRST, task_id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
