"""Which tasks a filter lets through, as SQL that the indexes serve.

Invariant: `matching` finds just those tasks that `TaskFilter.matches` says; a test holds the two together.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    Text,
    Uuid,
    any_,
    bindparam,
    func,
    literal,
    literal_column,
    or_,
    select,
)

from taskql.adapters.postgres.changes import LEASED
from taskql.adapters.postgres.tables import tasks, timestamp
from taskql.lifecycle import TERMINAL, TaskStatus
from taskql.listing import TaskFilter

EVERYBODYS = literal_column("tasks.kind <> ''", Boolean)
"""Holds for all tasks: in the words of the indexes that are for everybody's, and for nobody's own."""

UNFINISHED = tasks.c.outcome.is_(None)
"""In the words of the index of those that have yet to end."""

RUNNING = literal_column(f"tasks.id = ANY (ARRAY ({LEASED}))", Boolean)
"""Those that run are few, and their dispatch rows have an index."""


def is_owned(table: str) -> str:
    """Whether the task is the `:owner`'s, for statements written as text; with none, everybody's is."""
    return f"(CAST(:owner AS text) IS NULL OR {table}.owner = :owner)"


def matching(owner: str | None, filter: TaskFilter) -> list[ColumnElement[bool]]:
    conditions = owned_by(owner)
    if filter.status is not None:
        # `outcome` has the partial index that serves pages of finished tasks.
        column = tasks.c.outcome if TERMINAL.issuperset(filter.status) else tasks.c.status
        conditions.append(column.in_([status.value for status in filter.status]))
        if TERMINAL.isdisjoint(filter.status):
            conditions.append(UNFINISHED)
        if {*filter.status} == {TaskStatus.PROCESSING}:
            conditions.append(RUNNING)
    if filter.kind is not None:
        conditions.append(tasks.c.kind.in_(filter.kind))
    if filter.priority is not None:
        conditions.append(tasks.c.priority.in_([priority.value for priority in filter.priority]))
    if filter.ordering_key is not None:
        conditions.append(tasks.c.ordering_key == filter.ordering_key)
    if filter.tags:
        conditions.append(tasks.c.tags.contains(list(filter.tags)))
    if filter.title_contains is not None:
        part = literal(filter.title_contains, Text)
        conditions.append(func.strpos(_without_case(tasks.c.title), _without_case(part)) > 0)
    if filter.created_after is not None:
        conditions.append(tasks.c.created_at > filter.created_after)
    if filter.created_before is not None:
        conditions.append(tasks.c.created_at < filter.created_before)
    if filter.updated_after is not None:
        conditions += _updated_after(filter.updated_after)
    return conditions


def owned_by(owner: str | None) -> list[ColumnElement[bool]]:
    return [EVERYBODYS] if owner is None else [tasks.c.owner == owner]


def is_one_of(ids: Collection[UUID]) -> ColumnElement[bool]:
    """By an array made in the statement: the planner looks up each, and expects no more of others."""
    wanted = select(func.unnest(literal(list(ids), ARRAY(Uuid))))
    return tasks.c.id == any_(func.array(wanted.scalar_subquery(), type_=ARRAY(Uuid)))


def _updated_after(moment: datetime) -> list[ColumnElement[bool]]:
    """No index names `updated_at`, which changes in flight; but a finished task last changed when it ended.

    The moment stands in the statement itself: with a parameter in its place, PostgreSQL would come to plan
    for any moment there is, and count all finished tasks for a recent one.
    """
    literally = bindparam(None, moment, type_=timestamp, literal_execute=True)
    return [tasks.c.updated_at > literally, or_(UNFINISHED, tasks.c.finished_at > literally)]


def _without_case(text: ColumnElement[str]) -> ColumnElement[str]:
    """By Unicode's rules, whatever the database's locale: under C, lower() knows no letter beyond ASCII."""
    return func.lower(text.collate("pg_c_utf8"))
