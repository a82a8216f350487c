"""What every answer has to be, over whatever transport: documented, and silent about our insides.

Invariant: what a client sent is no finding where it comes back; what nobody sent and tells of us is one.
"""

import json
import re
from functools import cache
from typing import Any

from tests.deployment import ROOT

LEAKS = re.compile(
    r"Traceback|File \"|\.py\b|site-packages|most recent call last"
    r"| object at 0x|<class '|<function|<coroutine|NoneType|object has no attribute|unexpected keyword"
    r"|positional argument|unhashable|not subscriptable|not iterable|recursion depth|\bsys\.|codec can't"
    r"|asyncpg|sqlalchemy|psycopg|botocore|aiobotocore|hiredis|pydantic|strawberry|starlette|uvicorn|PyJWT"
    r"|\b(?:gql|taskql|consumer)\.[a-z_]+\.[A-Za-z_]+|\bdispatch_\w+|\btasks_\w+_(?:idx|key|check|pkey)"
    r"|\bSELECT\b.{1,200}\bFROM\b|INSERT INTO|UPDATE tasks|violates|duplicate key|\$\d+::|syntax error at or"
    r"|postgresql?://|redis://|elasticmq|InvalidTextRepresentation|DataError|DBAPIError|\w+Exception\(|\w+Error\("
)
MAX_SHOWN = 300


class Finding(AssertionError):
    """An answer that must not be."""


@cache
def documented() -> dict[str, set[str]]:
    """What docs/errors.md names, by the table's heading: codes of errors, close codes."""
    sections = (ROOT / "docs" / "errors.md").read_text().split("\n## ")
    return {
        section.partition("\n")[0]: set(re.findall(r"^\| `?([A-Z_]+|\d{4})`? \|", section, re.MULTILINE))
        for section in sections
    }


def check_text(text: str, sent: str) -> None:
    """Nothing of ours is in it, and no token that was sent."""
    for leak in LEAKS.finditer(text):
        if leak.group() not in sent:
            around = text[max(0, leak.start() - MAX_SHOWN) : leak.end() + MAX_SHOWN]
            raise Finding(f"tells of our insides ({leak.group()!r}): {around}")
    for token in re.findall(r"eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{20,}", sent):
        if token in text:
            raise Finding(f"repeats a token: {text[:MAX_SHOWN]}")


def check_json(text: str, sent: str) -> Any:
    """Valid JSON, fit for any client; what it says."""
    check_text(text, sent)
    try:
        return json.loads(text, parse_constant=no_number)
    except ValueError as error:
        raise Finding(f"no JSON ({error}): {text[:MAX_SHOWN]}") from None


def no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def check_result(result: Any) -> None:
    """A result of GraphQL: data, errors or both."""
    if not isinstance(result, dict) or not result or result.keys() - {"data", "errors", "extensions"}:
        raise Finding(f"no GraphQL result: {str(result)[:MAX_SHOWN]}")
    if "errors" in result:
        check_errors(result["errors"])
    elif not isinstance(result.get("data"), dict):
        raise Finding(f"neither data nor errors: {str(result)[:MAX_SHOWN]}")


def check_errors(errors: Any) -> None:
    if not isinstance(errors, list) or not errors:
        raise Finding(f"no errors: {str(errors)[:MAX_SHOWN]}")
    for error in errors:
        if not isinstance(error, dict) or not isinstance(error.get("message"), str) or not error["message"]:
            raise Finding(f"no error: {str(error)[:MAX_SHOWN]}")
        code = error.get("extensions", {}).get("code")
        if code not in documented()["Codes of `errors`"]:
            raise Finding(f"no code that is documented: {error}")
        if code in ("INTERNAL", "UNAVAILABLE", "TIMEOUT"):
            raise Finding(f"not the client's fault: {error}")
