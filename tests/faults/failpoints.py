"""Points at which a process of ours can be made to die, put into it from outside.

And a rest that can be put between two steps.

A test arms a point by creating a file of its name in a folder; the first process that passes removes the
file, which only one can, and is gone as by kill -9. The product knows nothing of it.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from enum import Enum
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = "TASKQL_FAULTS_FAILPOINTS"
"""The variable that names the folder."""
WELCOME_SECONDS = "TASKQL_FAULTS_WELCOME_SECONDS"
"""The variable that says for how long the hub rests after each step by which it welcomes watchers."""


class Failpoint(Enum):
    """The module, class and method (or the module and its function) before which to die."""

    BETWEEN_COMMIT_AND_SEND = ("taskql.adapters.sqs.sender", "SqsSender", "send")
    BETWEEN_SEND_AND_MARK = ("taskql.adapters.postgres.dispatch", "PostgresDispatch", "mark_sent")
    BETWEEN_CLAIM_AND_RUN = ("consumer.attempt", "Attempt", "run")
    BETWEEN_EFFECT_AND_OUTCOME = ("consumer.recorder", "Recorder", "record")
    BETWEEN_OUTCOME_AND_FOLLOW_UPS = ("taskql.adapters.postgres.leases", None, "insert")
    BETWEEN_OUTCOME_AND_ACKNOWLEDGE = ("taskql.adapters.sqs.receiver", "SqsReceiver", "acknowledge")


def arm(folder: Path, failpoint: Failpoint) -> Path:
    """The file, which is there as long as nobody has died of it."""
    armed = folder / failpoint.name
    armed.touch()
    return armed


def install(folder: Path, role: str) -> None:
    """In a process of ours, before it starts; `role` is the package that it runs."""
    for failpoint in Failpoint:
        module, owner, method = failpoint.value
        if not module.startswith("consumer") or role == "consumer":
            target = getattr(import_module(module), owner) if owner else import_module(module)
            setattr(target, method, mortal(getattr(target, method), folder / failpoint.name))


def slow_down_welcomes(seconds: float) -> None:
    """In an API process: what happens between listening and looking, in either order, has time to happen."""
    for module, owner, method in (("gql.listening", "Listening", "listen"), ("gql.hub", "Hub", "_look")):
        target = getattr(import_module(module), owner)
        setattr(target, method, slow(getattr(target, method), seconds))


def slow(method: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    @wraps(method)
    async def wrapped(*arguments: Any, **options: Any) -> Any:
        answer = await method(*arguments, **options)
        await asyncio.sleep(seconds)
        return answer

    return wrapped


def mortal(method: Callable[..., Any], armed: Path) -> Callable[..., Any]:
    @wraps(method)
    async def wrapped(*arguments: Any, **options: Any) -> Any:
        die_if_armed(armed)
        return await method(*arguments, **options)

    return wrapped


def die_if_armed(armed: Path) -> None:
    try:
        armed.unlink()
    except FileNotFoundError:
        return  # it is not, or another process was first
    os.kill(os.getpid(), signal.SIGKILL)
