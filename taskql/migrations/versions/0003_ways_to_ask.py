"""Tasks that expire, tasks that run in order, and tags to look for.

`orderings` gives out the places within a group. `dispatch_one_at_a_time` is the database's own guard of the
order: of a group, one task at most is free to run.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    "CREATE TABLE orderings ("
    "name text PRIMARY KEY, number bigint NOT NULL, used_at timestamptz NOT NULL DEFAULT now())",
    "COMMENT ON TABLE orderings IS 'The last place given out in each ordering group.'",
    "ALTER TABLE dispatch ADD COLUMN ordering_number bigint",
    "ALTER TABLE dispatch ADD CONSTRAINT an_ordered_task_has_a_place "
    "CHECK ((ordering_group IS NULL) = (ordering_number IS NULL))",
    "CREATE INDEX dispatch_blocked ON dispatch (ordering_group, ordering_number) WHERE blocked",
    "CREATE UNIQUE INDEX dispatch_one_at_a_time ON dispatch (ordering_group) "
    "WHERE NOT blocked AND ordering_group IS NOT NULL",
    "DROP INDEX dispatch_unsent",
    "CREATE INDEX dispatch_unsent ON dispatch (available_at) WHERE sent_at IS NULL AND NOT blocked",
    "CREATE INDEX dispatch_expiring ON dispatch (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX tasks_tags ON tasks USING gin (tags) WHERE tags <> '{}'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
