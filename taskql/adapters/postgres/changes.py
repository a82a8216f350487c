"""Which unfinished tasks have changed, without an index on anything that changes in flight.

Invariant: until a worker takes it, a task is as it was created; then its dispatch row is leased, and tells
when it last came back. So what has changed is found among few, however many wait.
"""

LEASED = "SELECT task_id FROM dispatch WHERE leased"
"""The tasks whose attempts run."""

CREATED_SINCE = "t.owner = :owner AND t.outcome IS NULL AND t.created_at > :moment"
"""The owner's unfinished tasks that are newer than `:moment`; `t` is the task."""

# A return is dated a little before the change that it is part of.
TOUCHED_SINCE = f"""
t.owner = :owner AND t.outcome IS NULL AND t.created_at <= :moment AND t.updated_at > :moment
AND t.id = ANY (ARRAY (
    {LEASED} UNION ALL
    SELECT task_id FROM dispatch WHERE returned_at > CAST(:moment AS timestamptz) - interval '1 second'
))
"""
"""Those that are older and have changed since."""
