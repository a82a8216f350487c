"""`python -m consumer.child`: one handler's call, in a process of its own.

Started by `consumer.process`, which hands over an order on standard input and the number of a pipe for the
answers. It is a fresh interpreter, so that it shares no loop, socket or lock with the worker; it imports the
values and the handler's module, nothing else.

Invariant: it does not outlive its worker, not even for a moment's race.
"""

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from uuid import UUID

from consumer.pipe import Began, Order, Raised, Word, encode
from taskql.context import TaskContext
from taskql.errors import HandlerRefused, Permanent, Retryable
from taskql.handler import Handler
from taskql.logs import set_up_logging
from taskql.marks import attempt_marked
from taskql.outcome import Succeeded
from taskql.registry import handlers_in, import_module
from taskql.retry import delay_asked, describe

PR_SET_PDEATHSIG = 1

log = logging.getLogger("consumer.child")


def main(pipe: str, worker: str) -> None:
    die_with(int(worker))
    be_the_first_to_go()
    order = take_order()
    sys.path[:] = order.path
    set_up_logging(order.log_level, order.log_format)
    mouth = Mouth(int(pipe))
    with attempt_marked(order, order.traceparent):
        mouth.say(perform(order, mouth.say))


def perform(order: Order, say: Callable[[Word], None]) -> Succeeded | Raised:
    """Whatever the handler does, there is an answer, unless it takes the process along."""
    try:
        handler = find(order.module, order.kind)
        context = TaskContext(
            UUID(order.id), order.attempt, order.title, order.description, say, lambda: False
        )
        arguments = handler.arguments(order.input, context)
        say(Began())
        return Succeeded(handler.result(call(handler, arguments)))
    except BaseException as error:  # SystemExit too: a handler's exit is no crash
        # What a handler says on purpose needs no traceback.
        unexpected = None if isinstance(error, Permanent | Retryable) else error
        message = "attempt %d of task %s (%s) raised %s"
        log.info(message, order.attempt, order.id, order.kind, type(error).__name__, exc_info=unexpected)
        return Raised(describe(error), delay_asked(error))


def find(module: str, kind: str) -> Handler:
    """The kind's handler, found as the registry found it."""
    for handler in handlers_in(import_module(module)):
        if handler.kind == kind:
            return handler
    raise HandlerRefused(f"{module} has no handler of kind {kind!r} at its top level: define it there")


def call(handler: Handler, arguments: tuple[Any, ...]) -> Any:
    if handler.is_async:
        return asyncio.run(handler.function(*arguments))
    return handler.function(*arguments)


class Mouth:
    """The child's end of the pipe. All threads may speak: a line is never torn.

    A worker that no longer listens has given the attempt up, and is about to end this process.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = open(pipe, "wb", buffering=0)  # noqa: SIM115 (open as long as the process runs)
        self._lock = Lock()

    def say(self, word: Word) -> None:
        rest = encode(word)
        with self._lock, suppress(BrokenPipeError):
            while rest:
                rest = rest[self._pipe.write(rest) :]


def take_order() -> Order:
    """Read the order, then leave the handler a standard input that is empty."""
    order = Order.decode(sys.stdin.buffer.readline())
    lifeline = os.dup(0)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 (a descriptor is wanted)
        os.dup2(nothing.fileno(), 0)
    if sys.platform != "linux":
        Thread(target=end_with, args=(lifeline,), daemon=True).start()
    return order


def die_with(worker: int) -> None:
    """Ask the kernel to kill us when our worker ends, however that comes about."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != worker:  # it ended before the kernel knew of our wish
        sys.exit("the worker is gone")


def end_with(lifeline: int) -> None:
    """Where the kernel can't be asked: the worker's end of our input closes when the worker ends."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


def be_the_first_to_go() -> None:
    """When memory runs out, Linux shall kill this process, and not the worker with all its tasks."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main(*sys.argv[1:])
