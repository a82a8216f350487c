"""The body of an SQS message: a pointer to a task, `{"task_id": "…", "v": 1}`, and no more.

Kind, input and owner come from PostgreSQL, so a forged message can at worst hint at a task.
"""

import re
from uuid import UUID

from pydantic_core import from_json

VERSION = 1


class ForeignMessage(ValueError):
    """The body is not one that we wrote."""


def encode(task_id: UUID) -> str:
    return f'{{"task_id": "{task_id}", "v": {VERSION}}}'


def decode(body: str) -> UUID:
    """The task that the body points to. Raises ForeignMessage for anything that `encode` would not write."""
    try:
        content = from_json(body.encode())
    except ValueError:
        raise ForeignMessage("the body is not JSON") from None
    match content:
        case {"task_id": str(text), "v": version, **rest} if version == VERSION and not rest:
            return _parsed(text)
        case _:
            raise ForeignMessage('the body is not {"task_id": "…", "v": 1}')


def attempt_from(text: object) -> int | None:
    """The attempt that our own dead letters carry; anything else under that name is not ours to trust."""
    return int(text) if isinstance(text, str) and re.fullmatch(r"[0-9]{1,9}", text) else None


def _parsed(text: str) -> UUID:
    """A UUID in the one spelling that we write; Python's parser takes many more."""
    try:
        task_id = UUID(text)
    except ValueError:
        raise ForeignMessage("its task_id is not a UUID") from None
    if str(task_id) != text:
        raise ForeignMessage("its task_id is not a UUID in lower case with hyphens")
    return task_id
