"""The names of a schema's types: each means one thing."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gql.models.client import ClientModel

RESERVED = frozenset(
    """
    AttemptOutcome BigInt Boolean CancelTaskInput CancelTaskPayload CreateTaskInput CreateTaskPayload
    CreateTasksInput CreateTasksPayload CreateWatchTokenInput CreateWatchTokenPayload Date DateTime
    DeadLetter DeadLetterConnection DeadLetterEdge Decimal DeleteTaskInput DeleteTaskPayload Float ID Int
    JSON Kind Mutation NoInput Node PageInfo Query Queue RedriveTasksInput RedriveTasksPayload
    RetryTaskInput RetryTaskPayload String Subscription Task TaskAttempt TaskConnection TaskEdge TaskFailure
    TaskFailureDetail TaskFilter TaskOrder TaskPriority TaskProgress TaskResult TaskStatus TaskWorkInput
    Time URL UUID UserError UserErrorCode
    """.split()  # noqa: SIM905 (a list of words is what one reads)
)
"""The API's own, whether or not a deployment's schema has them all."""

API = "the API itself"


@dataclass
class Names:
    """What is called how, and the types that several kinds share."""

    owners: dict[str, str] = field(default_factory=lambda: dict.fromkeys(RESERVED, API))
    models: dict[tuple[type, bool], ClientModel] = field(default_factory=dict)
    enums: dict[type[Enum], Any] = field(default_factory=dict)

    def take(self, name: str, owner: str) -> str | None:
        """Who has the name already, if somebody does."""
        if name in self.owners:
            return self.owners[name]
        self.owners[name] = owner
        return None
