"""What a worker and a handler's process say to each other, as bytes."""

from datetime import timedelta

import pytest

from consumer.pipe import MAX_LINE_BYTES, Began, Lines, Order, Raised, Unreadable, Word, decode, encode
from taskql.handler import MAX_RESULT_BYTES
from taskql.outcome import Succeeded
from taskql.task import MAX_FAILURE_CHARS, Failure, Progress

FAILURE = Failure("RETRYABLE", "\x01" * MAX_FAILURE_CHARS, retryable=True)


@pytest.mark.parametrize(
    "word",
    [
        Began(),
        Progress(0.25, "a\nb"),
        Progress(1.0),
        Succeeded(None),
        Succeeded({"text": "x" * (MAX_RESULT_BYTES - 11)}),
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
    assert len(line) <= MAX_LINE_BYTES
    assert decode(line) == word


def test_an_order_arrives_as_it_was_given() -> None:
    order = Order(["a", "b"], "INFO", "m", "k", {"ü": [1, None]}, "id", 2, "title\n", None)
    assert order.encode().count(b"\n") == 1
    assert Order.decode(order.encode()) == order


def test_lines_are_put_together_from_pieces() -> None:
    lines = Lines()
    found = [list(lines.feed(piece)) for piece in (b"a", b"b\nc\n", b"", b"d\n")]
    assert found == [[], [b"ab", b"c"], [], [b"d"]]


def test_an_endless_line_is_refused() -> None:
    lines = Lines()
    assert list(lines.feed(b"x" * MAX_LINE_BYTES)) == []
    with pytest.raises(Unreadable):
        list(lines.feed(b"x"))


@pytest.mark.parametrize("line", [b"", b"5", b"{}", b"\xff", b'{"began": false}', b'{"failure": {}}'])
def test_a_line_that_is_none_of_ours_is_unreadable(line: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(line)
