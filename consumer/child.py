"""`python -m consumer.child`: one handler's call, in a process of its own.

Started by `consumer.process`, which hands over an order on standard input and the number of a pipe for the
answers. It is a fresh interpreter, so that it shares no loop, socket or lock with the worker; it imports the
values and the handler's module, nothing else, and opens the lifespans that this module holds.

Invariant: it does not outlive its worker, not even for a moment's race.
"""

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Lock, Thread
from types import ModuleType
from typing import Any
from uuid import UUID

from consumer.pipe import Began, Order, Raised, Word, encode
from taskql.context import Host, TaskContext
from taskql.errors import HandlerRefused, Permanent, Retryable
from taskql.follow_ups import PassedOn
from taskql.handler import Handler
from taskql.lifespan import Lifespan, opened
from taskql.logs import set_up_logging
from taskql.marks import attempt_marked
from taskql.outcome import Succeeded
from taskql.registry import handlers_in, import_module, lifespans_in
from taskql.retry import delay_asked, describe

PR_SET_PDEATHSIG = 1

PATIENCE = timedelta(seconds=30)
"""How long a lifespan may take to open here, or to close."""

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
    failures: tuple[type[Exception], ...] = ()
    try:
        module = import_module(order.module)
        handler = find(module, order.kind)
        failures = handler.failures
        with asyncio.Runner() as runner, open_in(runner, lifespans_in(module)) as resources:
            arguments = handler.arguments(order.input, context_of(order, say, resources))
            say(Began())
            value = call(handler, arguments, runner)
        return Succeeded(handler.result(value, order.policy.max_result_bytes))
    except BaseException as error:  # SystemExit too: a handler's exit is no crash
        # What a handler says on purpose needs no traceback.
        unexpected = None if isinstance(error, Permanent | Retryable) else error
        message = "attempt %d of task %s (%s) raised %s"
        log.info(message, order.attempt, order.id, order.kind, type(error).__name__, exc_info=unexpected)
        failure = describe(error, failures, expose=order.policy.expose_errors)
        return Raised(failure, delay_asked(error))


def find(module: ModuleType, kind: str) -> Handler:
    """The kind's handler, found as the registry found it."""
    for handler in handlers_in(module):
        if handler.kind == kind:
            return handler
    raise HandlerRefused(
        f"{module.__name__} has no handler of kind {kind!r} at its top level: define it there"
    )


@contextmanager
def open_in(runner: asyncio.Runner, lifespans: Iterable[Lifespan]) -> Iterator[Mapping[type, object]]:
    """What the lifespans yield. The loop stands still meanwhile, unless the handler itself runs in it."""
    stack = AsyncExitStack()
    resources = runner.run(stack.enter_async_context(opened(lifespans, PATIENCE)))
    try:
        yield resources
    finally:
        runner.run(stack.aclose())


def context_of(order: Order, say: Callable[[Word], None], resources: Mapping[type, object]) -> TaskContext:
    host = Host(say, lambda: False, PassedOn(say).create, resources)
    return TaskContext(
        UUID(order.id), order.attempt, order.kind, order.title, order.description, tuple(order.tags), host
    )


def call(handler: Handler, arguments: tuple[Any, ...], runner: asyncio.Runner) -> Any:
    if handler.is_async:
        return runner.run(handler.function(*arguments))
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
