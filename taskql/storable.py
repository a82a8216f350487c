"""What PostgreSQL and JSON can hold. Text has no NUL and no lone surrogate, numbers are finite."""

import json
import math
import re
from collections.abc import Iterator

from taskql.errors import InputIssue
from taskql.task import JSON

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
UNSTORABLE_TEXT = "holds a NUL character or half of a surrogate pair; remove it"
UNSTORABLE_NUMBER = "is not a finite number; JSON has no NaN or Infinity"
COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold the text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def storable(text: str) -> str:
    """The text with a replacement character for each one that PostgreSQL can't hold."""
    return UNSTORABLE.sub("\ufffd", text)


def unstorable(value: JSON, path: tuple[str, ...] = ()) -> Iterator[InputIssue]:
    """Each place below `value` that can't be stored, and why."""
    match value:
        case str() if not is_storable(value):
            yield path, UNSTORABLE_TEXT
        case float() if not math.isfinite(value):
            yield path, UNSTORABLE_NUMBER
        case dict():
            for key, item in value.items():
                if not is_storable(key):
                    yield path, UNSTORABLE_TEXT
                yield from unstorable(item, (*path, key))
        case list() | tuple():
            for index, item in enumerate(value):
                yield from unstorable(item, (*path, str(index)))


def json_size(value: JSON) -> int:
    """Bytes of the value as compact UTF-8 JSON."""
    return len(COMPACT.encode(value).encode())
