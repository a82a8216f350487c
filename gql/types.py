"""The task and its parts as clients see them.

These types describe; they hold nothing. Resolvers return the values of `taskql.task`, and the fields are read
off them by name. Two of Task's fields are missing here: `input` and `result` depend on the kinds and are
made in gql/kinds.py.
"""

from datetime import datetime
from typing import Any

import strawberry

from gql.context import Info
from gql.enums import AttemptOutcome, TaskPriority, TaskStatus
from gql.scalars import Url
from taskql import task as values


@strawberry.interface(description="Whatever can be fetched again by its id alone, with `node` or `nodes`.")
class Node:
    id: strawberry.ID = strawberry.field(
        description="A UUIDv7 in its canonical text, unique among all nodes; not base64."
    )


@strawberry.type(description="Why a task or one of its attempts failed.")
class TaskFailure:
    code: str = strawberry.field(
        description=(
            "The last attempt's cause: TIMEOUT, CRASHED, PERMANENT, INVALID_INPUT, RESULT_TOO_LARGE, "
            "UNKNOWN_KIND, EXPIRED …, or ATTEMPTS_EXHAUSTED when every attempt ended in an ordinary "
            "exception. More may come: treat unknown ones alike."
        )
    )
    message: str = strawberry.field(
        description="The cause in words that are safe to show to the task's owner."
    )
    retryable: bool = strawberry.field(
        description="Whether another attempt could end better. Advice: nothing is refused because of it."
    )


@strawberry.type(description="One execution of a task by a worker.")
class TaskAttempt:
    number: int = strawberry.field(description="Counts the task's executions from 1; never used twice.")
    started_at: datetime = strawberry.field(description="When the worker claimed the task.")
    finished_at: datetime | None = strawberry.field(description="Null while it runs.")
    outcome: AttemptOutcome | None = strawberry.field(description="Null while it runs.")
    failure: TaskFailure | None = strawberry.field(
        description="What went wrong in this attempt; null if nothing did."
    )


@strawberry.type(description="How far an attempt says it is. A new attempt starts without.")
class TaskProgress:
    fraction: float = strawberry.field(description="From 0 to 1, as the handler reckons; it may go back.")
    message: str | None = strawberry.field(description="What the handler is busy with, in its own words.")


def is_terminal(root: strawberry.Parent[values.Task]) -> bool:
    return root.status.is_terminal


def result_url(root: strawberry.Parent[values.Task], info: Info) -> Any:
    return None if root.result_location is None else info.results.url(root.result_location)


@strawberry.type(description="A piece of work that TaskQL keeps until it is COMPLETED, FAILED or CANCELLED.")
class Task(Node):
    owner: str = strawberry.field(
        description="Who created it, as the API's authentication names them; `local` where there is none."
    )
    title: str = strawberry.field(description="As given, less white space at its ends.")
    description: str | None = strawberry.field(description="As given.")
    kind: str = strawberry.field(
        description="The handler's name; a string, so that a new kind breaks no client. `kinds` lists them."
    )
    status: TaskStatus = strawberry.field(description="Where it is in its life.")
    is_terminal: bool = strawberry.field(
        resolver=is_terminal, description="Whether it has ended. Only a retry changes a terminal task."
    )
    version: int = strawberry.field(
        description=(
            "Rises by one with every change that a watcher can see. Of two pictures of a task, the one with "
            "the higher version is the newer."
        )
    )
    priority: TaskPriority = strawberry.field(description="How soon it is taken up while others wait.")
    ordering_key: str | None = strawberry.field(
        description="What it shares with those of your tasks that run one after another; null if with none."
    )
    tags: list[str] = strawberry.field(
        description="As given, each once; `TaskFilter.tags` finds tasks by them."
    )
    attempt: int = strawberry.field(
        description="How often it was started; 0 before the first time, never reset."
    )
    max_attempts: int = strawberry.field(description="The attempt after whose failure the task is given up.")
    attempts: list[TaskAttempt] = strawberry.field(description="The last 20, oldest first.")
    progress: TaskProgress | None = strawberry.field(
        description="What the latest attempt last reported; null if it never did."
    )
    result_url: Url | None = strawberry.field(
        resolver=result_url,
        description=(
            "Where anybody can fetch the result's document for the next five minutes: JSON with `kind`, "
            "`input`, `result` and `processedAt`. Null where there is none: small results are in `result` "
            "alone, unless the deployment keeps documents of all."
        ),
    )
    failure: TaskFailure | None = strawberry.field(description="Why it FAILED; null in every other status.")
    run_at: datetime | None = strawberry.field(
        description="As given: it is not started before this moment. Null if none was given."
    )
    expires_at: datetime | None = strawberry.field(
        description=(
            "The moment by which it must have started, lest it be FAILED with the code EXPIRED; null for no "
            "such moment, as after a retry."
        )
    )
    created_at: datetime = strawberry.field(description="When it was stored, by the database's clock.")
    updated_at: datetime = strawberry.field(description="When `version` last rose.")
    started_at: datetime | None = strawberry.field(
        description="When its first attempt began; null before that."
    )
    finished_at: datetime | None = strawberry.field(description="When it became terminal; null before that.")

    @classmethod
    def is_type_of(cls, value: Any, info: Any) -> bool:
        return isinstance(value, values.Task)


@strawberry.type(description="Something that a handler can do for you.")
class Kind:
    name: str = strawberry.field(description="The field of TaskWorkInput that asks for it, and `Task.kind`.")
    description: str | None = strawberry.field(description="What its handler's author says about it.")
    max_attempts: int = strawberry.field(
        description="How often a task of this kind is tried before it FAILED."
    )
    timeout_seconds: float = strawberry.field(description="How long one attempt may take.")
    input_type: str | None = strawberry.field(
        description="The GraphQL type of its input; null if it takes none."
    )
    result_type: str | None = strawberry.field(
        description="The GraphQL type of its result; null if it never has one."
    )
