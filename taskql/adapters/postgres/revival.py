"""Terminal tasks that become PENDING again, by a client's retry or by a dead letter put back into its queue.

A terminal task has no dispatch row, so the task itself is locked; of two revivals at once the second finds
nothing to do.
"""

from sqlalchemy import column, text
from sqlalchemy.sql.selectable import TextualSelect

from taskql.adapters.postgres.ordering import ORDERING_GROUP, place, take_places
from taskql.adapters.postgres.tables import QUEUE, TASK_COLUMNS, TASK_SQL
from taskql.adapters.postgres.tasks import IS_DUE, RESERVED_UNTIL
from taskql.handler import DEFAULT_MAX_ATTEMPTS


def revive(which: str) -> TextualSelect:
    """The statement for the tasks that `which` selects.

    Its values besides those of `which`: `max_attempts` (JSON: by kind, how many more). A task that runs in
    order joins the end; one whose `run_at` is still to come waits for it.
    """
    return text(f"""
    WITH chosen AS (
        SELECT t.id, t.attempt, t.run_at, {ORDERING_GROUP} AS ordering_group, {QUEUE} AS queue,
               {IS_DUE} AS is_due
        FROM tasks t WHERE {which} ORDER BY t.id FOR UPDATE
    ), places AS (
        {take_places("chosen")}
    ), placed AS (
        SELECT chosen.*, {place("id")} AS ordering_number
        FROM chosen LEFT JOIN places ON places.name = chosen.ordering_group
    ), dispatched AS (
        INSERT INTO dispatch
            (task_id, queue, attempt, available_at, ordering_group, ordering_number, blocked, reserved_until,
             returned_at)
        SELECT id, queue, attempt, greatest(run_at, now()), ordering_group, ordering_number,
               ordering_group IS NOT NULL, CASE WHEN is_due THEN {RESERVED_UNTIL} END, clock_timestamp()
        FROM placed
    )
    UPDATE tasks t
    SET status = 'PENDING', outcome = NULL, version = t.version + 1, failure = NULL, progress = NULL,
        max_attempts = t.attempt
            + coalesce(CAST(CAST(:max_attempts AS jsonb) ->> t.kind AS integer), {DEFAULT_MAX_ATTEMPTS}),
        ordering_number = placed.ordering_number, expires_at = NULL, finished_at = NULL,
        updated_at = clock_timestamp()
    FROM placed WHERE t.id = placed.id
    RETURNING {TASK_SQL}, placed.is_due
    """).columns(*TASK_COLUMNS, column("is_due"))
