"""Terminal tasks that become PENDING again, by a client's retry or by a dead letter put back into its queue.

A terminal task has no dispatch row, so the task itself is locked; of two revivals at once the second finds
nothing to do.
"""

from sqlalchemy import text
from sqlalchemy.sql.selectable import TextualSelect

from taskql.adapters.postgres.tables import TASK_COLUMNS, TASK_SQL
from taskql.handler import DEFAULT_MAX_ATTEMPTS


def revive(which: str) -> TextualSelect:
    """The statement for the tasks that `which` selects.

    Its values besides those of `which`: `queue`, `reserved` (seconds that the rows are left to the process
    that revives them) and `max_attempts` (JSON: by kind, how many more).
    """
    return text(f"""
    WITH chosen AS (
        SELECT id, attempt FROM tasks WHERE {which} ORDER BY id FOR UPDATE
    ), dispatched AS (
        INSERT INTO dispatch (task_id, queue, attempt, reserved_until)
        SELECT id, :queue, attempt, now() + make_interval(secs => :reserved) FROM chosen
    )
    UPDATE tasks t
    SET status = 'PENDING', outcome = NULL, version = t.version + 1, failure = NULL, progress = NULL,
        max_attempts = t.attempt
            + coalesce(CAST(CAST(:max_attempts AS jsonb) ->> t.kind AS integer), {DEFAULT_MAX_ATTEMPTS}),
        expires_at = NULL, finished_at = NULL, updated_at = clock_timestamp()
    FROM chosen WHERE t.id = chosen.id
    RETURNING {TASK_SQL}
    """).columns(*TASK_COLUMNS)
