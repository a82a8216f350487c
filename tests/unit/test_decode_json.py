"""JSON that Python would read, or break on, is refused in words of our own."""

import json

import pytest

from gql.request import decode_json


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"query":"\xed\xa0\x80"}', "the byte at 10 is not UTF-8"),
        (b"[NaN]", "NaN is not JSON"),
        ("9" * 5_000, "a number has too many digits"),
        ("[" * 100_000 + "]" * 100_000, "lists and objects are nested more than 100 deep"),
        ("[" * 101 + "]" * 101, "lists and objects are nested more than 100 deep"),
        ("{", "Expecting property name enclosed in double quotes"),
    ],
)
def test_what_is_no_json_is_refused_in_words(data: str | bytes, reason: str) -> None:
    with pytest.raises(json.JSONDecodeError) as refused:
        decode_json(data)

    assert refused.value.msg == reason
