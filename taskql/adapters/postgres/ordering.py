"""Tasks that run one after another: their places in the order, as SQL.

A place is taken under a lock on the group's row that is held to the commit. So whoever sees a task sees all
with lower numbers that have not ended: the first of a group stays the first until it ends. At most one task
of a group is not blocked, which a unique index enforces.
"""

from sqlalchemy import text

ORDERING_GROUP = """
    encode(sha256(convert_to(char_length(t.owner) || ':' || t.owner || t.ordering_key, 'UTF8')), 'hex')
"""
"""The task's `taskql.queues.ordering_group`; null for one without an ordering key. `t` is the task."""


def take_places(wanted: str) -> str:
    """The statement that takes the next places of the groups in `wanted`, a table with `ordering_group`."""
    return f"""
    INSERT INTO orderings AS o (name, number)
    SELECT ordering_group, count(*) FROM {wanted}
    WHERE ordering_group IS NOT NULL GROUP BY ordering_group ORDER BY ordering_group
    ON CONFLICT (name) DO UPDATE SET number = o.number + excluded.number, used_at = now()
    RETURNING name, number
    """


def place(within: str) -> str:
    """Each row's number, given that `places` holds the last one taken; rows come in the order of `within`."""
    return f"places.number + 1 - row_number() OVER (PARTITION BY ordering_group ORDER BY {within} DESC)"


LET_GO = """
), mine AS (
    SELECT d.task_id FROM dispatch d JOIN (
        SELECT firsts.task_id FROM firsts
        WHERE NOT EXISTS (SELECT FROM dispatch u WHERE NOT u.blocked AND u.ordering_group = firsts.name)
    ) free ON d.task_id = free.task_id
    WHERE d.blocked ORDER BY d.task_id FOR UPDATE OF d SKIP LOCKED
), let_go AS (
    UPDATE dispatch SET blocked = false, available_at = greatest(available_at, now())
    WHERE task_id = ANY (ARRAY (SELECT task_id FROM mine))
    RETURNING task_id
)
"""

UNBLOCK = text(f"""
WITH firsts AS (
    SELECT first.* FROM unnest(CAST(:groups AS text[])) AS given(name) CROSS JOIN LATERAL (
        SELECT ordering_group AS name, task_id FROM dispatch
        WHERE blocked AND ordering_group = given.name ORDER BY ordering_number LIMIT 1
    ) first
{LET_GO}
SELECT count(*) FROM let_go
""")

# Goes from one group that has blocked tasks to the next, by the index, however many are blocked in each.
UNBLOCK_NEXT = text(f"""
WITH RECURSIVE firsts AS (
    (SELECT 1 AS place, ordering_group AS name, task_id FROM dispatch
     WHERE blocked AND ordering_group > :after ORDER BY ordering_group, ordering_number LIMIT 1)
    UNION ALL
    SELECT firsts.place + 1, next.* FROM firsts CROSS JOIN LATERAL (
        SELECT ordering_group, task_id FROM dispatch
        WHERE blocked AND ordering_group > firsts.name ORDER BY ordering_group, ordering_number LIMIT 1
    ) next
    WHERE firsts.place < :limit
{LET_GO}
SELECT (SELECT count(*) FROM let_go) AS let_go, (SELECT name FROM firsts WHERE place = :limit) AS last
""")
