"""What PostgreSQL and JSON can hold, and what becomes of the rest."""

import math
from typing import Any

import pytest

from taskql.storable import (
    UNSTORABLE_NUMBER,
    UNSTORABLE_TEXT,
    is_storable,
    json_size,
    storable,
    unstorable,
)


@pytest.mark.parametrize("text", ["", "abc", "Grüße 🚀", "\x01\x7f\ufffd\uffff", "e\u0301", "\u202e"])
def test_ordinary_text_is_stored_as_it_is(text: str) -> None:
    assert is_storable(text)
    assert storable(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x00", "\ufffd"),
        ("a\x00b\x00", "a\ufffdb\ufffd"),
        ("\ud800", "\ufffd"),
        ("x\udfffy", "x\ufffdy"),
        ("\ud83d\ude80", "\ufffd\ufffd"),
    ],
)
def test_each_character_that_cannot_be_stored_is_replaced_by_one(text: str, expected: str) -> None:
    assert not is_storable(text)
    assert storable(text) == expected
    assert is_storable(storable(text))


@pytest.mark.parametrize("value", [None, True, 0, 10**400, 1.5, "x", [], {}, {"a": [1, {"b": None}]}])
def test_ordinary_json_has_no_issues(value: Any) -> None:
    assert list(unstorable(value)) == []


@pytest.mark.parametrize(
    ("value", "path", "why"),
    [
        ("\x00", (), UNSTORABLE_TEXT),
        (math.nan, (), UNSTORABLE_NUMBER),
        (math.inf, (), UNSTORABLE_NUMBER),
        (-math.inf, (), UNSTORABLE_NUMBER),
        ({"a": ["x", "\ud800"]}, ("a", "1"), UNSTORABLE_TEXT),
        ({"a": ({"b": math.nan},)}, ("a", "0", "b"), UNSTORABLE_NUMBER),
    ],
)
def test_each_place_that_cannot_be_stored_is_named(value: Any, path: tuple[str, ...], why: str) -> None:
    assert list(unstorable(value)) == [(path, why)]


def test_a_key_that_cannot_be_stored_is_named_by_its_object() -> None:
    assert list(unstorable({"outer": {"a\x00": 1}})) == [(("outer",), UNSTORABLE_TEXT)]


def test_all_places_are_found() -> None:
    assert [path for path, _ in unstorable(["\x00", 1, {"a": math.nan}])] == [("0",), ("2", "a")]


@pytest.mark.parametrize(
    ("value", "size"), [("", 2), ("ä", 4), ("🚀", 6), ({"a": [1, 2]}, 11), (None, 4), (["\n"], 6)]
)
def test_the_size_is_that_of_compact_utf8(value: Any, size: int) -> None:
    assert json_size(value) == size
