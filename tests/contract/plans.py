"""How PostgreSQL performs what the adapters ask of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.contract.conftest import Database

Statement = tuple[str, tuple[Any, ...]]
Plan = dict[str, Any]


@contextmanager
def noted(engine: AsyncEngine) -> Iterator[list[Statement]]:
    """The statements that are made within the block."""
    made: list[Statement] = []

    def note(_: Any, __: Any, statement: str, values: tuple[Any, ...], *___: Any) -> None:
        made.append((statement, values))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield made
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)


async def plan_of(db: Database, statement: Statement) -> Plan:
    query, values = statement
    return root(await db.value(f"EXPLAIN (FORMAT JSON) {query}", *values))


async def performed(db: Database, statement: Statement) -> Plan:
    """The plan with what it came to, undone afterwards."""
    query, values = statement
    transaction = db.direct.transaction()
    await transaction.start()
    try:
        return root(await db.value(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *values))
    finally:
        await transaction.rollback()


def root(explained: str) -> Plan:
    plan: Plan = json.loads(explained)[0]["Plan"]
    return plan


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def indexes(plan: Plan) -> set[str]:
    return {node["Index Name"] for node in nodes(plan) if "Index Name" in node}


def rows_read(plan: Plan) -> int:
    """Of the tables, those that were looked at in vain included."""
    counts = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    scans = [node for node in nodes(plan) if "Scan" in node["Node Type"] and "Relation Name" in node]
    return sum(round(node.get(count, 0) * node["Actual Loops"]) for node in scans for count in counts)
