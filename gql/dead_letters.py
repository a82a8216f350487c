"""Dead letters as operators see them: a connection over keyset pages, newest first."""

from datetime import datetime
from typing import Any

import strawberry

from gql.connection import MAX_PAGE_SIZE, PageInfo
from gql.cursors import decode_cursor, encode_cursor
from gql.errors import BadUserInput
from gql.types import Node
from taskql import ports
from taskql.listing import Position

DEFAULT_LETTERS = 20


@strawberry.type(
    description="A task that failed for good, or a message on a queue that was not TaskQL's own."
)
class DeadLetter(Node):
    reason: str = strawberry.field(description="A code, a colon, and the reason in words.")
    task_id: strawberry.ID | None = strawberry.field(
        description="The task that failed; null for a message that names none."
    )
    attempt: int | None = strawberry.field(
        description="The attempt at which it failed: put back into its queue, the letter counts for that."
    )
    queue: str = strawberry.field(description="The queue that it came from: `normal`, say.")
    body: str | None = strawberry.field(description="The message's body, as far as PostgreSQL can hold it.")
    at: datetime = strawberry.field(description="When it was written, by the database's clock.")

    @classmethod
    def is_type_of(cls, value: Any, info: Any) -> bool:
        return isinstance(value, ports.DeadLetter)


@strawberry.type(description="A dead letter in the listing, with its place there.")
class DeadLetterEdge:
    cursor: str = strawberry.field(description="Pass it as `after` to go on from here. Opaque.")
    node: ports.DeadLetter = strawberry.field(
        graphql_type=DeadLetter, description="What stands at that place."
    )


@strawberry.type(description="A page of dead letters.")
class DeadLetterConnection:
    letters: strawberry.Private[list[ports.DeadLetter]]
    has_next: strawberry.Private[bool]
    has_previous: strawberry.Private[bool]

    @strawberry.field(description="The dead letters, newest first, each with its cursor.")
    def edges(self) -> list[DeadLetterEdge]:
        return [DeadLetterEdge(cursor=cursor_of(letter), node=letter) for letter in self.letters]

    @strawberry.field(graphql_type=list[DeadLetter], description="The dead letters, without cursors.")
    def nodes(self) -> list[ports.DeadLetter]:
        return self.letters

    @strawberry.field(description="Where to go on.")
    def page_info(self) -> PageInfo:
        ends = self.letters[:1] + self.letters[-1:]
        return PageInfo(
            has_next_page=self.has_next,
            has_previous_page=self.has_previous,
            start_cursor=cursor_of(ends[0]) if ends else None,
            end_cursor=cursor_of(ends[-1]) if ends else None,
        )


async def page_of_letters(
    store: ports.DeadLetterStore, first: int | None, after: str | None
) -> DeadLetterConnection:
    """The page that a client asks for. Raises BadUserInput, naming the argument."""
    if first is not None and not 1 <= first <= MAX_PAGE_SIZE:
        raise BadUserInput(f"`first` is {first}; give 1 to {MAX_PAGE_SIZE}.")
    limit = first or DEFAULT_LETTERS
    beyond = None if after is None else decode_cursor("after", after).id
    found = await store.page(limit + 1, beyond)
    return DeadLetterConnection(
        letters=found[:limit], has_next=len(found) > limit, has_previous=beyond is not None
    )


def cursor_of(letter: ports.DeadLetter) -> str:
    return encode_cursor(Position(letter.at, letter.id))
