"""Listings of any size: by tag, and for administrators those of everybody's tasks.

A tag's tasks are a table of their own, in the order of listings, kept by triggers, so that whoever writes
tasks keeps it right. The indexes for everybody's tasks have a condition that holds for all, and that only
administrators' listings name: else the planner may take them for the listing of a single owner. A row enters
that of failures once, at its end.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS = (
    "CREATE TABLE task_tags (owner text NOT NULL, tag text NOT NULL, created_at timestamptz NOT NULL, "
    "task_id uuid NOT NULL, PRIMARY KEY (owner, tag, created_at, task_id))",
    "COMMENT ON TABLE task_tags IS 'The tags of tasks in the order of listings; kept by triggers on tasks.'",
    "CREATE INDEX task_tags_everybodys ON task_tags (tag, created_at, task_id)",
    "INSERT INTO task_tags SELECT owner, unnest(tags), created_at, id FROM tasks WHERE tags <> '{}'",
    "DROP INDEX tasks_tags",
    """
    CREATE FUNCTION tags_stored() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO task_tags
        SELECT DISTINCT NEW.owner, tag, NEW.created_at, NEW.id FROM unnest(NEW.tags) AS tag;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION tags_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM task_tags WHERE owner = OLD.owner AND tag = ANY (OLD.tags)
            AND created_at = OLD.created_at AND task_id = OLD.id;
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER tags_stored AFTER INSERT ON tasks FOR EACH ROW WHEN (NEW.tags <> '{}') "
    "EXECUTE FUNCTION tags_stored()",
    "CREATE TRIGGER tags_deleted AFTER DELETE ON tasks FOR EACH ROW WHEN (OLD.tags <> '{}') "
    "EXECUTE FUNCTION tags_deleted()",
    "CREATE INDEX tasks_everybodys ON tasks (created_at, id) WHERE kind <> ''",
    "CREATE INDEX tasks_everybodys_ends ON tasks (outcome, created_at, id) "
    "WHERE outcome IN ('FAILED', 'CANCELLED') AND kind <> ''",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)
