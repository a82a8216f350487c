"""What is said of tasks once they are stored."""

from collections.abc import Sequence

from taskql.ports import Created, EventSink, Outbox, Revived


def tell(stored: Sequence[Created | Revived], outbox: Outbox, events: EventSink) -> None:
    """Have what is stored sent, and known to its watchers."""
    if dispatches := [each.dispatch for each in stored if each.dispatch is not None]:
        outbox.offer(dispatches)
    if groups := {group for each in stored if (group := each.task.ordering_group) is not None}:
        outbox.wake(groups)
    for each in stored:
        events.publish(each.task)
