"""The trace that a task is created in, as PostgreSQL keeps it for the attempts."""

from uuid import uuid4

from taskql.marks import attempt_marked
from tests.contract.conftest import Database, new_task
from tests.unit.scripted import a_task

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_an_attempt_carries_on_the_trace_that_its_task_was_created_in_and_so_do_its_follow_ups(
    db: Database,
) -> None:
    with attempt_marked(a_task(uuid4()), TRACEPARENT):
        first = await db.claimed()
    assert first.traceparent == TRACEPARENT
    with attempt_marked(first.task, first.traceparent):
        completion = await db.leases.complete(first.lease, {}, follow_ups=[new_task()])
    [follow_up] = completion.created
    assert (await db.claim(follow_up.task.id)).traceparent == TRACEPARENT


async def test_a_task_of_nobody_s_trace_has_none(db: Database) -> None:
    with attempt_marked(a_task(uuid4()), None):
        assert (await db.claimed()).traceparent is None
