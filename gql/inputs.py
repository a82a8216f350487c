"""What clients send: the inputs of mutations and listings."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

import strawberry
from strawberry.types.arguments import InputContext

from gql.enums import TaskPriority, TaskStatus
from gql.errors import BadUserInput
from gql.scalars import checked_text
from gql.viewer import Viewer
from gql.watch_tokens import DEFAULT_TTL_SECONDS, MAX_TTL_SECONDS
from taskql.creation import (
    MAX_IDEMPOTENCY_KEY_CHARS,
    MAX_ORDERING_KEY_CHARS,
    MAX_TAG_CHARS,
    MAX_TAGS,
    MAX_TASKS_AT_ONCE,
)
from taskql.listing import TaskFilter as Filter
from taskql.task import JSON

MAX_TITLE_CONTAINS_CHARS = 255
MAX_REDRIVEN = 1_000


@strawberry.input(
    one_of=True,
    description="What to do: one kind, with its input. A kind without input takes NoInput: `{ping: {}}`.",
)
class TaskWorkInput:
    """Its GraphQL fields, one for each kind, are added by gql/kinds.py; what arrives is kept as it came."""

    kind: strawberry.Private[str]
    input: strawberry.Private[Mapping[str, JSON]]

    @classmethod
    def from_input(cls, _: type, value: Mapping[str, Any], context: InputContext) -> Self:
        [(kind, input)] = value.items()
        return cls(kind=kind, input=input)


# strawberry's hook for input types that build their own value.
TaskWorkInput.__strawberry_definition__.from_input = TaskWorkInput.from_input  # type: ignore[attr-defined]


@strawberry.input(description="The only input of kinds that need none. Send `{}`.")
class NoInput:
    nothing: bool | None = strawberry.field(
        name="_",
        description="Means nothing and may be left out: GraphQL has no input types without fields.",
    )


@strawberry.input(description="A task to be done.")
class CreateTaskInput:
    title: str = strawberry.field(description="1 to 255 characters, not counting white space at the ends.")
    description: str | None = strawberry.field(
        description="Whatever else is to be known: up to 10,000 characters."
    )
    work: TaskWorkInput | None = strawberry.field(
        description="What to do. Left out, it is the kind `process`."
    )
    priority: TaskPriority = strawberry.field(
        default=TaskPriority.NORMAL,
        description="How soon it is taken up while others wait. With an `orderingKey` it must be NORMAL.",
    )
    run_at: datetime | None = strawberry.field(
        description=(
            "Not to be started before this moment, however far ahead. One that has passed means at once."
        )
    )
    expires_at: datetime | None = strawberry.field(
        description=(
            "If no attempt has started by this moment, the task is FAILED with the code EXPIRED. It must be "
            "still to come, and later than `runAt`. Whatever has started in time may end later."
        )
    )
    idempotency_key: str | None = strawberry.field(
        description=(
            f"Makes it safe to send this again: 1 to {MAX_IDEMPOTENCY_KEY_CHARS} characters of your own, the "
            "same for each try. The same key with the same input answers with the task of the first time, "
            "and `created` is false; with another input it is an IDEMPOTENCY_CONFLICT."
        ),
    )
    ordering_key: str | None = strawberry.field(
        description=(
            f"Your tasks with the same key, 1 to {MAX_ORDERING_KEY_CHARS} characters, run one after another "
            "in the order of their creation: each waits until the one before it is terminal, its retries and "
            "its `runAt` included. A task that `retryTask` tries again joins the end."
        )
    )
    tags: list[str] | None = strawberry.field(
        description=(
            f"Words of your own to find it by: up to {MAX_TAGS}, of 1 to {MAX_TAG_CHARS} characters each. "
            "Repeated ones are kept once."
        )
    )


@strawberry.input(description="Many tasks to be done.")
class CreateTasksInput:
    tasks: list[CreateTaskInput] = strawberry.field(
        description=f"Up to {MAX_TASKS_AT_ONCE}; of a longer list nothing is stored."
    )


@strawberry.input(description="Which task to cancel.")
class CancelTaskInput:
    id: strawberry.ID = strawberry.field(description="A task that is PENDING or PROCESSING.")


@strawberry.input(description="Which task to try again.")
class RetryTaskInput:
    id: strawberry.ID = strawberry.field(description="A task that is FAILED or CANCELLED.")


@strawberry.input(description="Which task to forget.")
class DeleteTaskInput:
    id: strawberry.ID = strawberry.field(description="A task that is terminal.")


@strawberry.input(description="Who may watch what, and for how long they may begin to.")
class CreateWatchTokenInput:
    id: strawberry.ID = strawberry.field(description="The task that may be watched.")
    ttl_seconds: int = strawberry.field(
        default=DEFAULT_TTL_SECONDS,
        description=f"For so many seconds a watch can be started, 1 to {MAX_TTL_SECONDS:,}; it goes on then.",
    )


@strawberry.input(
    description="Which tasks to list. A task is listed if it matches every field that is given."
)
class TaskFilter:
    status: list[TaskStatus] | None = strawberry.field(
        description="In one of these statuses; of an empty list, no task is."
    )
    kind: list[str] | None = strawberry.field(
        description="Of one of these kinds; of an empty list, no task is."
    )
    priority: list[TaskPriority] | None = strawberry.field(
        description="Of one of these priorities; of an empty list, no task is."
    )
    ordering_key: str | None = strawberry.field(
        description=f"With exactly this ordering key, 1 to {MAX_ORDERING_KEY_CHARS} characters."
    )
    tags: list[str] | None = strawberry.field(
        description=(
            f"With every one of these tags, up to {MAX_TAGS} of 1 to {MAX_TAG_CHARS} characters, exactly as "
            "they were given; an empty list leaves nothing out."
        )
    )
    title_contains: str | None = strawberry.field(
        description="Has this text, 1 to 255 characters, somewhere in its title; capitals don't matter.",
    )
    created_after: datetime | None = strawberry.field(description="Created later than this moment.")
    created_before: datetime | None = strawberry.field(description="Created earlier than this moment.")
    updated_after: datetime | None = strawberry.field(
        description="Changed later than this moment: the `asOf` of an earlier listing, say."
    )
    owner: str | None = strawberry.field(
        description="Of this owner: for administrators, who else are shown everybody's."
    )

    def whose(self, viewer: Viewer) -> str | None:
        """Whose tasks are asked for; None for everybody's. Raises Forbidden where the viewer may not."""
        if self.owner is not None:
            checked_text("filter.owner", self.owner)
        return viewer.whose_when_asked_for(self.owner)

    def checked(self) -> Filter:
        """The filter as the service takes it. Raises BadUserInput where the store could not compare."""
        return Filter(
            status=self.status,
            kind=self.kind and [checked_text("filter.kind", kind) for kind in self.kind],
            priority=self.priority,
            ordering_key=short("filter.orderingKey", self.ordering_key, MAX_ORDERING_KEY_CHARS),
            tags=self.tags and checked_tags(self.tags),
            title_contains=short("filter.titleContains", self.title_contains, MAX_TITLE_CONTAINS_CHARS),
            created_after=self.created_after,
            created_before=self.created_before,
            updated_after=self.updated_after,
        )


def checked_tags(tags: list[str]) -> list[str]:
    if len(tags) > MAX_TAGS:
        raise BadUserInput(f"`filter.tags` has {len(tags)} tags; give at most {MAX_TAGS}: no task has more.")
    for tag in tags:
        short("filter.tags", tag, MAX_TAG_CHARS)
    return tags


def short(argument: str, text: str | None, most: int) -> str | None:
    """The text, where there is one, no longer than what it is compared with. Raises BadUserInput."""
    if text is None:
        return None
    if not 1 <= len(text) <= most:
        raise BadUserInput(f"`{argument}` has {len(text)} characters; give 1 to {most}, or leave it out.")
    return checked_text(argument, text)


@strawberry.input(description="Which FAILED tasks to try again.")
class RedriveTasksInput:
    filter: TaskFilter | None = strawberry.field(
        description="Which of your FAILED tasks; left out: all of them."
    )
    limit: int = strawberry.field(
        default=100, description=f"How many at most, the oldest first: 1 to {MAX_REDRIVEN}."
    )
    dry_run: bool = strawberry.field(
        default=False, description="Only count what matches, and change nothing."
    )
