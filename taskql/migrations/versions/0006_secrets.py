"""Keys that all processes share and that nobody has to set: what signs watch tokens."""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = (
    "CREATE TABLE secrets (name text PRIMARY KEY, value bytea NOT NULL)",
    "COMMENT ON TABLE secrets IS 'Made at first use; deleting one makes what it has signed invalid.'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
