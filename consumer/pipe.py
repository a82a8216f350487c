"""What a worker and a handler's process say to each other: one JSON object a line.

The worker sends one `Order` over the child's standard input. The child answers over a pipe of its own, since
handlers print: `Began`, any number of `Progress` and requests for follow-ups, and in the end `Succeeded` or
`Raised`.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import assert_never

from pydantic import TypeAdapter

from taskql.creation import MAX_INPUT_BYTES, CreateRequest
from taskql.logs import LogFormat
from taskql.outcome import Succeeded
from taskql.policy import Policy
from taskql.task import JSON, Failure, Progress

MARGIN_BYTES = 96 * 1024
"""More than a request or a failure has besides its input, with every character of its texts escaped."""

REQUEST = TypeAdapter(CreateRequest)


class Unreadable(Exception):
    """What came is none of our lines: the handler itself wrote into the pipe."""


@dataclass(frozen=True, slots=True)
class Order:
    """All that a child needs to know. `path` is where the worker finds its modules."""

    path: list[str]
    log_level: str
    module: str
    kind: str
    input: JSON
    id: str
    attempt: int
    title: str
    description: str | None
    tags: list[str]
    policy: Policy
    log_format: LogFormat = "text"
    traceparent: str | None = None

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"

    @staticmethod
    def decode(line: bytes) -> "Order":
        given = json.loads(line)
        return Order(**{**given, "policy": Policy(**given["policy"])})


@dataclass(frozen=True, slots=True)
class Began:
    """The function is about to be called: from now on its time counts."""


@dataclass(frozen=True, slots=True)
class Raised:
    """The function raised: the failure to show, and the delay that it asked for."""

    failure: Failure
    after: timedelta | None


Word = Began | Progress | CreateRequest | Succeeded | Raised


def encode(word: Word) -> bytes:
    """A line. Not in ASCII, so that a result has the size that its limit counts."""
    match word:
        case Began():
            said: JSON = {"began": True}
        case Progress():
            said = {"progress": asdict(word)}
        case CreateRequest():
            said = {"create": REQUEST.dump_python(word, mode="json")}
        case Succeeded(result):
            said = {"result": result}
        case Raised(failure, after):
            seconds = None if after is None else after.total_seconds()
            said = {"failure": asdict(failure), "after": seconds}
        case _:
            assert_never(word)
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Word:
    """The word that a line holds. Raises Unreadable."""
    try:
        match json.loads(line):
            case {"began": True}:
                return Began()
            case {"progress": dict(progress)}:
                return Progress(**progress)
            case {"create": dict(request)}:
                return REQUEST.validate_python(request)
            case {"result": result}:
                return Succeeded(result)
            case {"failure": dict(failure), "after": after}:
                return Raised(Failure(**failure), None if after is None else timedelta(seconds=after))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Unreadable from error
    raise Unreadable


class Lines:
    """Cuts what comes in pieces into lines, and keeps no more of an unfinished one than a line may have."""

    def __init__(self, policy: Policy) -> None:
        self._longest = longest_line(policy)
        self._rest = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The lines that `piece` completes. Raises Unreadable at one that is too long."""
        end, *begun = piece.split(b"\n")
        self._rest += end
        for begin in begun:
            line, self._rest = self._rest, bytearray(begin)
            yield bytes(line)
        if len(self._rest) > self._longest:
            raise Unreadable


def longest_line(policy: Policy) -> int:
    """More bytes than any line of ours has: the largest result or input, and what is around it."""
    return max(policy.max_result_bytes, MAX_INPUT_BYTES) + MARGIN_BYTES
