"""The queues that carry tasks, and which of them a task takes. Adapters map their names to URLs."""

import hashlib
from enum import StrEnum


class TaskPriority(StrEnum):
    """How soon a task wants to run, compared with others that wait."""

    HIGH = "HIGH"
    NORMAL = "NORMAL"
    LOW = "LOW"


class Queue(StrEnum):
    """A queue for each priority, and a FIFO one for tasks that run in order."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    FIFO = "fifo"


SHARES = {Queue.HIGH: 12, Queue.NORMAL: 4, Queue.FIFO: 4, Queue.LOW: 1}
"""How the slots of a worker are shared out while all queues have messages waiting."""


def queue_of(priority: TaskPriority, ordering_key: str | None) -> Queue:
    return Queue.FIFO if ordering_key is not None else Queue[priority]


def ordering_group(owner: str, key: str | None) -> str | None:
    """The name of what runs one after another: one owner's tasks of one ordering key, in hexadecimal.

    PostgreSQL computes the same (`ORDERING_GROUP` in taskql/adapters/postgres/ordering.py).
    """
    if key is None:
        return None
    return hashlib.sha256(f"{len(owner)}:{owner}{key}".encode()).hexdigest()
