"""A handler for `test_isolation`: whatever it says of a task is a word that nothing else says."""

import asyncio
import hashlib

from pydantic import BaseModel

from taskql import Permanent, TaskContext, handler


class Mark(BaseModel):
    """A word to hide, and how to end: done, failed, or never."""

    word: str = "unmarked"
    end: str = "done"
    repeat: int = 1


class Marked(BaseModel):
    """Another word, so many times."""

    made: str


def said(about: str, word: str) -> str:
    """What the handler says for a word: neither can be told from the other."""
    return hashlib.sha256(f"{about} {word}".encode()).hexdigest()[:16]


@handler("mark")
async def mark(work: Mark, task: TaskContext) -> Marked:
    """Say something in every way that there is."""
    task.progress(0.5, said("progress", work.word))
    if work.end == "failed":
        raise Permanent(said("failure", work.word))
    if work.end == "never":
        await asyncio.Event().wait()
    return Marked(made=said("result", work.word) * work.repeat)
