"""Cursors: opaque names for places in a listing.

A cursor is a version digit and the URL-safe base64 of the task's creation time in microseconds and its id: 33
characters that need no escaping. Clients only hand them back; the digit lets the encoding change one day.
"""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from uuid import UUID

from gql.errors import BadUserInput
from gql.scalars import quoted
from taskql.listing import Position
from taskql.task import Task

VERSION = "1"
LAYOUT = struct.Struct(">q16s")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def position_of(task: Task) -> Position:
    return Position(task.created_at, task.id)


def encode_cursor(position: Position) -> str:
    microseconds = (position.created_at - EPOCH) // MICROSECOND
    return VERSION + urlsafe_b64encode(LAYOUT.pack(microseconds, position.id.bytes)).decode()


def decode_cursor(argument: str, cursor: str) -> Position:
    """The place that `cursor` names. Raises BadUserInput, naming the argument, for what we never gave."""
    try:
        microseconds, id_bytes = LAYOUT.unpack(urlsafe_b64decode(cursor.removeprefix(VERSION)))
        position = Position(EPOCH + microseconds * MICROSECOND, UUID(bytes=id_bytes))
        if encode_cursor(position) == cursor:
            return position
    except (ValueError, OverflowError, struct.error):
        pass
    raise BadUserInput(
        f"`{argument}`: {quoted(cursor)} is not a cursor; pass on one from pageInfo or edges, unchanged."
    )
