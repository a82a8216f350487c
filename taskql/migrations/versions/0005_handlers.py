"""Tasks whose kind no worker knows are given up after a while; results outlive no task.

`discarded_results` are tasks that are gone whose documents in the result store have yet to go.
"""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    "ALTER TABLE dispatch ADD COLUMN unknown_since timestamptz",
    "COMMENT ON COLUMN dispatch.unknown_since IS "
    "'Since when it has met only workers that do not know its kind.'",
    "CREATE TABLE discarded_results "
    "(task_id uuid PRIMARY KEY, location text NOT NULL, reserved_until timestamptz)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
