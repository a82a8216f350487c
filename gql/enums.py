"""The enums of the API. Those of the domain are used as they are, with descriptions added."""

from enum import Enum

import strawberry

from taskql.lifecycle import AttemptOutcome, TaskStatus
from taskql.queues import TaskPriority

__all__ = ["AttemptOutcome", "TaskOrder", "TaskPriority", "TaskStatus", "UserErrorCode"]


def described(enum: type[Enum], description: str, values: dict[Enum, str]) -> None:
    """Make a domain enum known to GraphQL, each value with a description of its own."""
    strawberry.enum(enum, description=description)
    for value in enum.__strawberry_definition__.values:  # type: ignore[attr-defined]
        value.description = values[enum[value.name]]


described(
    TaskStatus,
    "Where a task is in its life. COMPLETED, FAILED and CANCELLED are terminal.",
    {
        TaskStatus.PENDING: "Stored, and waiting for a worker: for the first time or for another attempt.",
        TaskStatus.PROCESSING: "A worker is at it.",
        TaskStatus.COMPLETED: "Done; `result` holds what came out.",
        TaskStatus.FAILED: "Given up; `failure` says why.",
        TaskStatus.CANCELLED: "Called off by its owner before it was done.",
    },
)
described(
    AttemptOutcome,
    "How one attempt at a task ended.",
    {
        AttemptOutcome.COMPLETED: "It brought the result.",
        AttemptOutcome.RETRIED: "It failed, and another attempt follows or followed.",
        AttemptOutcome.FAILED: "It failed, and the task with it.",
        AttemptOutcome.CANCELLED: "The task was cancelled while it ran.",
        AttemptOutcome.LOST: "Its worker was not heard of in time: crashed, stuck or cut off.",
        AttemptOutcome.RELEASED: "Its worker stopped and gave the task back; the attempt doesn't count.",
    },
)
described(
    TaskPriority,
    "How soon a task is taken up while others wait. A lower priority waits longer, but never for ever.",
    {
        TaskPriority.HIGH: "Before the others: workers give most of their room to these.",
        TaskPriority.NORMAL: "As it comes; what tasks with an orderingKey have.",
        TaskPriority.LOW: "When there is room: for what can wait.",
    },
)


@strawberry.enum(description="How a listing is sorted.")
class TaskOrder(Enum):
    CREATED_AT_DESC = strawberry.enum_value("CREATED_AT_DESC", description="Newest first.")
    CREATED_AT_ASC = strawberry.enum_value("CREATED_AT_ASC", description="Oldest first.")


@strawberry.enum(description="What kept a mutation from doing what was asked.")
class UserErrorCode(Enum):
    INVALID = strawberry.enum_value(
        "INVALID", description="The input, or this part of it, can't be accepted; nothing of it was stored."
    )
    NOT_FOUND = strawberry.enum_value(
        "NOT_FOUND", description="There is no such task, or it is not yours; the two look the same."
    )
    IDEMPOTENCY_CONFLICT = strawberry.enum_value(
        "IDEMPOTENCY_CONFLICT", description="The idempotency key was used before, for a different input."
    )
    ALREADY_FINISHED = strawberry.enum_value(
        "ALREADY_FINISHED", description="The task is terminal, so there is nothing left to cancel."
    )
    NOT_RETRYABLE = strawberry.enum_value(
        "NOT_RETRYABLE", description="Only FAILED and CANCELLED tasks can be retried."
    )
    NOT_FINISHED = strawberry.enum_value(
        "NOT_FINISHED", description="The task has not ended yet; only terminal tasks can be deleted."
    )
