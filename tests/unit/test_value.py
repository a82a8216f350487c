"""Values: dataclasses that cost no more to make than they have to."""

import dataclasses
import pickle

import pytest

from taskql.value import value_class


@value_class()
class Point:
    x: int
    y: int = 0


@value_class(kw_only=True)
class Named(Point):
    name: str


def test_values_are_compared_and_hashed_by_what_they_hold() -> None:
    assert Point(1, 2) == Point(1, 2) != Point(2, 1)
    assert len({Point(1), Point(1), Point(2)}) == 2


def test_values_are_dataclasses_with_slots() -> None:
    named = dataclasses.replace(Named(1, 2, name="a"), name="b")
    assert [field.name for field in dataclasses.fields(named)] == ["x", "y", "name"]
    assert dataclasses.asdict(named) == {"x": 1, "y": 2, "name": "b"}
    assert not hasattr(named, "__dict__")
    assert pickle.loads(pickle.dumps(named)) == named


def test_fields_can_be_for_keywords_alone() -> None:
    with pytest.raises(TypeError):
        Named(1, 2, "a")  # type: ignore[call-arg]
