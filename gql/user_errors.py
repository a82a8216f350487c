"""What a caller can put right, as data: `userErrors` in the payloads of mutations."""

from collections.abc import Sequence
from uuid import UUID

import strawberry
from strawberry.utils.str_converters import to_camel_case

from gql.enums import UserErrorCode
from gql.errors import logged
from gql.kinds import Kinds
from taskql.errors import AlreadyFinished, InputIssue, NotFinished, NotFound, NotRetryable, Refusal

CODES: dict[type[Refusal], UserErrorCode] = {
    NotFound: UserErrorCode.NOT_FOUND,
    AlreadyFinished: UserErrorCode.ALREADY_FINISHED,
    NotRetryable: UserErrorCode.NOT_RETRYABLE,
    NotFinished: UserErrorCode.NOT_FINISHED,
}

INPUT = ("input",)
"""The argument that all mutations have."""

OWN_VALIDATOR = "Value error, "
"""What pydantic puts before the words of a model's own validator."""


@strawberry.type(description="Something about the input that the caller can put right.")
class UserError:
    code: UserErrorCode = strawberry.field(description="What kind of problem it is, for programs.")
    message: str = strawberry.field(description="The problem and what to do about it, for people.")
    field: list[str] | None = strawberry.field(
        description=(
            'The path from the argument to the place, list indexes included: `["input", "work", "compute", '
            '"numbers", "3"]`. Null if no single place is at fault.'
        )
    )


def invalid(issue: InputIssue, kinds: Kinds, below: Sequence[str] = INPUT) -> UserError:
    """A place in the input that can't be accepted, named as clients know it."""
    path, reason = issue
    if path[0] == "work":
        field = [*below, "work", *kinds.client_path(path[1:])]
    else:
        field = [*below, *map(to_camel_case, path)]
    return UserError(code=UserErrorCode.INVALID, message=sentence(field, reason), field=field)


def refusal(error: Refusal) -> UserError:
    """Why a task's status, or its absence, keeps a mutation from doing what was asked."""
    return UserError(code=CODES[type(error)], message=str(error), field=["input", "id"])


def idempotency_conflict(task_id: UUID, below: Sequence[str] = INPUT) -> UserError:
    return UserError(
        code=UserErrorCode.IDEMPOTENCY_CONFLICT,
        message=(
            f"This idempotency key was used before, for task {task_id}, with a different input. "
            "Send that input again, or take a new key."
        ),
        field=[*below, "idempotencyKey"],
    )


def not_stored(error: Exception, below: Sequence[str] = INPUT) -> UserError:
    """A task that PostgreSQL would not take, though nothing seemed wrong with it."""
    incident = logged(f"Could not store {'.'.join(below)}", error)
    return UserError(
        code=UserErrorCode.INVALID,
        message=(
            f"This task could not be stored, for a reason that is logged as {incident}. It may help to send "
            "it again; the others are not affected."
        ),
        field=list(below),
    )


def sentence(field: list[str], reason: str) -> str:
    """A reason as a sentence. Models speak in whole ones; our own begin with a verb and want its subject."""
    told = reason.removeprefix(OWN_VALIDATOR)
    if told == reason and reason[:1].islower():
        told = f"The field '{subject(field)}' {reason}"
    return told[:1].upper() + told[1:] + ("" if told.endswith((".", "!", "?")) else ".")


def subject(field: list[str]) -> str:
    """What a path leads to: its last name, with the indexes behind it."""
    last = max(place for place, step in enumerate(field) if not step.isdigit())
    return field[last] + "".join(f"[{index}]" for index in field[last + 1 :])
