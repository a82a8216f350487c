"""The body of a message: what we write we read, and nothing else."""

import json
from uuid import UUID, uuid4

import pytest

from taskql.message import ForeignMessage, decode, encode

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


def test_what_is_encoded_is_decoded() -> None:
    task_id = uuid4()
    assert decode(encode(task_id)) == task_id


def test_the_body_points_to_a_task_and_holds_no_more() -> None:
    assert json.loads(encode(ID)) == {"task_id": str(ID), "v": 1}


def test_white_space_and_order_do_not_matter() -> None:
    assert decode(f' {{"v" : 1,\n"task_id":"{ID}"}} ') == ID


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        "{",
        "null",
        "5",
        '"text"',
        "[]",
        "{}",
        "NaN",
        "\x00",
        "\ud800",
        "9" * 5000,
        "[" * 100_000,
        '{"task_id":' * 100_000,
        f'{{"task_id": "{ID}"}}',
        '{"v": 1}',
        f'{{"task_id": "{ID}", "v": 2}}',
        f'{{"task_id": "{ID}", "v": "1"}}',
        f'{{"task_id": "{ID}", "v": null}}',
        f'{{"task_id": "{ID}", "v": [1]}}',
        f'{{"task_id": "{ID}", "v": 1, "owner": "mallory"}}',
        '{"task_id": null, "v": 1}',
        '{"task_id": 7, "v": 1}',
        '{"task_id": ["x"], "v": 1}',
        '{"task_id": "", "v": 1}',
        '{"task_id": "not-a-uuid", "v": 1}',
        f'{{"task_id": "{ID.hex}", "v": 1}}',
        f'{{"task_id": "{{{ID}}}", "v": 1}}',
        f'{{"task_id": "{str(ID).upper()}", "v": 1}}',
        '{"task_id": "０1890a5d-ac96-774b-bcce-b302099a8057", "v": 1}',
    ],
    ids=lambda body: body[:40].encode("unicode_escape").decode(),
)
def test_anything_else_is_foreign(body: str) -> None:
    with pytest.raises(ForeignMessage):
        decode(body)
