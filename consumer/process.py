"""A handler's call in a process of its own, which may crash alone and can be killed.

Invariant: nothing in the child's session outlives the call. Only the loop's thread kills and reaps, and it
reaps last, so that no signal meets a stranger who got the child's number.
"""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from signal import SIGKILL, Signals
from typing import assert_never

from consumer.pipe import Began, Lines, Order, Raised, Unreadable, decode
from taskql.creation import CreateRequest
from taskql.follow_ups import FollowUps
from taskql.handler import Handler
from taskql.logs import format_in_use
from taskql.marks import current
from taskql.outcome import Succeeded
from taskql.policy import Policy
from taskql.retry import BadFollowUp, Crashed, RaisedElsewhere
from taskql.task import JSON, Progress, Task
from taskql.thread import ThreadCall

FAREWELL = timedelta(seconds=2)
"""How long a child that has given its outcome may take to end by itself: its atexit hooks, say."""

PIECE_BYTES = 64 * 1024


class InProcess:
    """A function in a child process. `began` is called when the child is about to call it.

    What it wants to follow is checked once it has returned: only then `follow_ups` takes it in.
    """

    def __init__(
        self,
        handler: Handler,
        task: Task,
        policy: Policy,
        report: Callable[[Progress], None],
        began: Callable[[], None],
        follow_ups: FollowUps,
    ) -> None:
        self._order = order(handler, task, policy)
        self._report = report
        self._began = began
        self._follow_ups = follow_ups
        self._requests: list[CreateRequest] = []
        self._outcome: asyncio.Future[JSON] = asyncio.get_running_loop().create_future()
        self._lines = Lines(policy)
        self._life: asyncio.Task[None] | None = None

    async def result(self) -> JSON:
        self._process, self._pipe = start()
        self._life = asyncio.create_task(self._live())
        try:
            return await self._outcome
        except asyncio.CancelledError:
            self._kill()
            raise

    async def settled(self) -> None:
        if self._life is not None:
            await asyncio.wait({self._life})

    async def _live(self) -> None:
        """From the order to the end of the child and of all that it left in its session."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pipe, self._hear)
        try:
            await ThreadCall(instruct, self._process, self._order).result()
        finally:
            self._kill()
            code = self._process.wait()
            self._hear()  # its last words: they are in the pipe, whoever else may still hold it open
            loop.remove_reader(self._pipe)
            os.close(self._pipe)
            self._fail(Crashed(ending(code)))

    def _hear(self) -> None:
        """Take in what the child said."""
        try:
            piece = os.read(self._pipe, PIECE_BYTES)
        except BlockingIOError:
            return
        try:
            for line in self._lines.feed(piece):
                self._take(line)
        except Unreadable:
            self._fail(Crashed("The handler's process wrote into the pipe of its worker."))
            self._kill()
            piece = b""
        if not piece:
            asyncio.get_running_loop().remove_reader(self._pipe)

    def _take(self, line: bytes) -> None:
        match decode(line):
            case Began():
                self._began()
            case Progress() as progress:
                self._report(progress)
            case CreateRequest() as request:
                self._requests.append(request)
            case Succeeded(result):
                self._succeed(result)
                self._part()
            case Raised(failure, after):
                self._fail(RaisedElsewhere(failure, after))
                self._part()
            case word:
                assert_never(word)

    def _succeed(self, result: JSON) -> None:
        if self._outcome.done():
            return
        try:
            for request in self._requests:
                self._follow_ups.take(request)
        except BadFollowUp as error:
            self._fail(error)
        else:
            self._outcome.set_result(result)

    def _fail(self, error: Exception) -> None:
        if not self._outcome.done():
            self._outcome.set_exception(error)

    def _part(self) -> None:
        asyncio.get_running_loop().call_later(FAREWELL.total_seconds(), self._kill)

    def _kill(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):  # all gone, or nothing left but zombies
                os.killpg(self._process.pid, SIGKILL)


def order(handler: Handler, task: Task, policy: Policy) -> Order:
    return Order(
        path=sys.path,
        log_level=logging.getLevelName(logging.getLogger().getEffectiveLevel()),
        log_format=format_in_use(),
        traceparent=current().traceparent,
        module=handler.function.__module__,
        kind=handler.kind,
        input=task.input,
        id=str(task.id),
        attempt=task.attempt,
        title=task.title,
        description=task.description,
        tags=list(task.tags),
        policy=policy,
    )


def start() -> tuple["subprocess.Popen[bytes]", int]:
    """A fresh child in a session of its own, and the pipe over which it will answer.

    In the loop's thread, although it takes a few milliseconds: Linux has a child die with the thread that
    started it. Not through asyncio: uvloop's child runs Python before its exec, which a lock that some
    handler's thread held at the fork can hang, and the worker with it.
    """
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    interpreter = [sys.executable, "-X", "faulthandler"]
    try:
        process = subprocess.Popen(
            [*interpreter, "-m", "consumer.child", str(theirs), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=2,  # what handlers print goes to the worker's log
            pass_fds=(theirs,),
            start_new_session=True,
        )
    except OSError as error:
        os.close(ours)
        raise Crashed(f"The handler's process could not be started: {error.strerror}.") from error
    finally:
        os.close(theirs)
    return process, ours


def instruct(process: "subprocess.Popen[bytes]", order: Order) -> None:
    """Hand over the order, then wait until the child has ended; it is left to be reaped where that can be.

    Its input stays open all the while: that tells it that its worker lives.
    """
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as channel:  # its exit code tells why it didn't listen
        channel.write(order.encode())
        channel.flush()
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        else:
            process.wait()


def ending(code: int) -> str:
    """How the child ended, for the task's owner."""
    if code >= 0:
        return f"The handler's process exited with code {code}."
    try:
        name = Signals(-code).name
    except ValueError:  # a real-time signal has no name
        name = f"signal {-code}"
    return f"The handler's process was killed by {name}."
