"""The trace that a task is created in, as PostgreSQL keeps it for the attempts."""

from uuid import uuid4

from taskql.creation import CreateRequest, checked
from taskql.marks import attempt_marked
from taskql.registry import load_registry
from taskql.task import NewTask
from tests.contract.conftest import OWNER, Database
from tests.unit.scripted import a_task

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def asked_for(traceparent: str | None) -> NewTask:
    """A task that is asked for in a trace, or in none."""
    with attempt_marked(a_task(uuid4()), traceparent):
        request = CreateRequest(title="a title", kind="reverse", work={"input_data": "abc"})
        return checked(OWNER, request, load_registry())


async def test_an_attempt_carries_on_the_trace_that_its_task_was_created_in_and_so_do_its_follow_ups(
    db: Database,
) -> None:
    [created] = await db.tasks.create([asked_for(TRACEPARENT)])
    first = await db.claim(created.task.id)  # type: ignore[union-attr]
    assert first.traceparent == TRACEPARENT
    completion = await db.leases.complete(first.lease, {}, follow_ups=[asked_for(first.traceparent)])
    [follow_up] = completion.created
    assert (await db.claim(follow_up.task.id)).traceparent == TRACEPARENT


async def test_a_task_of_nobody_s_trace_has_none(db: Database) -> None:
    [created] = await db.tasks.create([asked_for(None)])
    assert (await db.claim(created.task.id)).traceparent is None  # type: ignore[union-attr]
