"""What a worker and a handler's process say to each other, as bytes."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from consumer.pipe import Began, Lines, Order, Raised, Unreadable, Word, decode, encode, longest_line
from taskql.creation import (
    MAX_DESCRIPTION_CHARS,
    MAX_INPUT_BYTES,
    MAX_ORDERING_KEY_CHARS,
    MAX_TAG_CHARS,
    MAX_TAGS,
    MAX_TITLE_CHARS,
    CreateRequest,
)
from taskql.outcome import Succeeded
from taskql.policy import Policy
from taskql.queues import TaskPriority
from taskql.task import MAX_FAILURE_CHARS, Failure, Progress

POLICY = Policy()
NOW = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)
DETAIL = {"__typename": "Big", "message": "\x01" * MAX_FAILURE_CHARS, "text": "ü" * 4000}
FAILURE = Failure("RETRYABLE", "\x01" * MAX_FAILURE_CHARS, retryable=True, detail=DETAIL)


@pytest.mark.parametrize(
    "word",
    [
        Began(),
        Progress(0.25, "a\nb"),
        Progress(1.0),
        Succeeded(None),
        Succeeded({"text": "x" * (POLICY.max_result_bytes - 11)}),
        CreateRequest(title="t", kind="k", run_at=NOW, priority=TaskPriority.LOW, tags=["a"], id=uuid4()),
        CreateRequest(
            title="\x01" * MAX_TITLE_CHARS,
            description="\x01" * MAX_DESCRIPTION_CHARS,
            ordering_key="\x01" * MAX_ORDERING_KEY_CHARS,
            tags=["\x01" * MAX_TAG_CHARS] * MAX_TAGS,
            work={"text": "x" * (MAX_INPUT_BYTES - 11)},
            id=uuid4(),
        ),
        Raised(FAILURE, None),
        Raised(FAILURE, timedelta(0)),
        Raised(FAILURE, timedelta(days=365, microseconds=1)),
    ],
    ids=lambda word: type(word).__name__,
)
def test_a_word_arrives_as_it_was_said(word: Word) -> None:
    line = encode(word)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) <= longest_line(POLICY)
    assert decode(line) == word


def test_an_order_arrives_as_it_was_given() -> None:
    order = Order(
        ["a", "b"], "INFO", "m", "k", {"ü": [1, None]}, "id", 2, "title\n", None, ["a"], Policy(9, True)
    )
    assert order.encode().count(b"\n") == 1
    assert Order.decode(order.encode()) == order


def test_lines_are_put_together_from_pieces() -> None:
    lines = Lines(POLICY)
    found = [list(lines.feed(piece)) for piece in (b"a", b"b\nc\n", b"", b"d\n")]
    assert found == [[], [b"ab", b"c"], [], [b"d"]]


def test_an_endless_line_is_refused() -> None:
    lines = Lines(POLICY)
    assert list(lines.feed(b"x" * longest_line(POLICY))) == []
    with pytest.raises(Unreadable):
        list(lines.feed(b"x"))


@pytest.mark.parametrize("line", [b"", b"5", b"{}", b"\xff", b'{"began": false}', b'{"failure": {}}'])
def test_a_line_that_is_none_of_ours_is_unreadable(line: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(line)
