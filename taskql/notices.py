"""What is said of tasks once they are stored."""

from collections.abc import Iterable

from taskql.ports import Created, EventSink, Outbox, Revived


def tell(stored: Iterable[Created | Revived], outbox: Outbox, events: EventSink) -> None:
    """Have what is stored sent, and known to its watchers."""
    found = list(stored)
    if dispatches := [each.dispatch for each in found if each.dispatch is not None]:
        outbox.offer(dispatches)
    if groups := {group for each in found if (group := each.task.ordering_group) is not None}:
        outbox.wake(groups)
    for each in found:
        events.publish(each.task)
