"""What may be told of an exception where payloads, tokens and passwords must not be: in our log.

Invariant: of a foreign exception only its type and the way to it are told. Drivers quote parameters, pydantic
quotes input, URLs hold passwords, `int()` and dictionaries repeat what they were given. Our own errors say
nothing that they should not; a handler's words are its author's.
"""

import traceback
from collections.abc import Iterator
from enum import Enum
from typing import assert_never
from urllib.parse import urlsplit

from pydantic_core import ValidationError

SPEAKERS = frozenset({"taskql", "gql", "consumer", "builtins", "asyncio", "socket", "ssl"})
"""Where an exception, and all that it inherits from, must be at home for its words to be told."""
PYDANTIC = frozenset({"pydantic", "pydantic_core"})
QUOTING = (ValueError, LookupError, StopIteration, StopAsyncIteration)
"""Exceptions of Python's own that repeat values; the others speak of code, or of the system."""
UNTOLD = "(its words are not logged: they may quote values)"
CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"
MEANWHILE = "\nDuring handling of the above exception, another exception occurred:\n\n"


class Words(Enum):
    """Whose words may be told."""

    ALL = "everybody's"
    OF_HANDLERS = "everybody's but pydantic's, which quote a task's input or result, and what repeats them"
    OWN = "our own"


def told(error: BaseException, words: Words = Words.OWN) -> str:
    """The error in words that may be logged."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if may_speak(error, words):
        return f"{name}: {error}" if str(error) else name
    return " ".join(filter(None, (name, code_of(error), UNTOLD)))


def may_speak(error: BaseException, words: Words) -> bool:
    homes = homes_of(error)
    match words:
        case Words.ALL:
            return True
        case Words.OF_HANDLERS:
            return not (homes | homes_of(error.__cause__)) & PYDANTIC
        case Words.OWN:
            return homes <= SPEAKERS and not (homes == {"builtins"} and isinstance(error, QUOTING))
        case _:
            assert_never(words)


def homes_of(error: BaseException | None) -> set[str]:
    """The packages that an exception and all that it inherits from are at home in."""
    return {base.__module__.partition(".")[0] for base in type(error).__mro__}


def code_of(error: BaseException) -> str | None:
    """What a foreign error says of itself in codes."""
    if isinstance(error, ValidationError):
        return ", ".join(sorted({issue["type"] for issue in error.errors(include_input=False)}))
    code = getattr(error, "sqlstate", None)
    return code if isinstance(code, str) else None


def traceback_of(error: BaseException, words: Words = Words.OWN) -> str:
    """The traceback as Python writes it, with what may be told of each exception."""
    return "".join(lines_of(error, words, set())).rstrip("\n")


def lines_of(error: BaseException, words: Words, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from lines_of(before, words, seen)
        yield CAUSED if error.__cause__ is not None else MEANWHILE
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    yield f"{told(error, words)}\n"
    for inner in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from lines_of(inner, words, seen)


def without_secrets(url: str) -> str:
    """A URL as it may be logged: some have a password, or a key among their parameters."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
