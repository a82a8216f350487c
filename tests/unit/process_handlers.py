"""Handlers for `test_process_call`: at the top of a module that a child can import."""

import asyncio
import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGKILL, SIGRTMIN
from typing import Any

from pydantic import BaseModel

from taskql import Permanent, Retryable, TaskContext, handler, lifespan

AT_ONCE = timedelta(milliseconds=1)
FOR_EVER = 3600
LATER = datetime(2100, 1, 1, tzinfo=UTC)


class Work(BaseModel):
    x: int = 0
    path: str = ""


class Out(BaseModel):
    x: int


class Text(BaseModel):
    text: str


@handler("double", process=True)
def double(work: Work, task: TaskContext) -> Out:
    return Out(x=work.x * 2)


@handler("doubleLater", process=True)
async def double_later(work: Work, task: TaskContext) -> Out:
    await asyncio.sleep(0)
    return Out(x=work.x * 2)


@handler("look", process=True)
def look(task: TaskContext) -> Text:
    given = sys.stdin.read()
    return Text(text=f"{task.id} {task.attempt} {task.title} {task.description} {task.cancelled} {given!r}")


@lifespan
async def opened() -> AsyncIterator[bytearray]:
    there = bytearray(b"opened in the loop")
    yield there
    there.clear()


@handler("lookUp", process=True)
async def look_up(task: TaskContext) -> Text:
    await asyncio.sleep(0)
    return Text(text=f"{task.kind} {task.tags} {task.resource(bytearray).decode()}")


@handler("lookUpPlainly", process=True)
def look_up_plainly(task: TaskContext) -> Text:
    asyncio.run(asyncio.sleep(0))  # no loop runs in its way
    return Text(text=task.resource(bytearray).decode())


@handler("ask", process=True)
def ask(work: Work, task: TaskContext) -> Text:
    asked = [task.create_task(double, Work(x=1), title="first")]
    asked += [task.create_task("whoAmI", {}, title="second", run_at=LATER)]
    if work.x:
        task.create_task("double", {"x": "many"}, title="third")
    if work.path:
        raise Retryable(work.path)
    return Text(text=" ".join(map(str, asked)))


class OutOfStock(Exception):
    """Nothing is left."""

    sku: str


@handler("sell", process=True, failures=[OutOfStock])
def sell(task: TaskContext) -> Out:
    error = OutOfStock()
    error.sku = "X-7"
    raise error


@handler("whoAmI")
def who_am_i(task: TaskContext) -> Out:
    return Out(x=os.getpid())


@handler("badness", process=True)
def badness(task: TaskContext) -> Out:
    return Out(x=int(Path("/proc/self/oom_score_adj").read_text()))


@handler("report", process=True)
def report(task: TaskContext) -> Out:
    threads = [threading.Thread(target=task.progress, args=(0.5, "\0" + "ü" * 600)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    task.progress(1.0)
    return Out(x=1)


@handler("reportOn", process=True)
def report_on(task: TaskContext) -> Text:
    """Return a result that fills the pipe while threads go on reporting."""

    def go_on() -> None:
        while True:
            task.progress(0.5, "ü" * 500)

    for _ in range(4):
        threading.Thread(target=go_on, daemon=True).start()
    return Text(text="x" * 60_000)


@handler("raise", process=True)
def raise_it(work: Work, task: TaskContext) -> Out:
    raise RAISED[work.x]


@handler("raiseLater", process=True)
async def raise_later(work: Work, task: TaskContext) -> Out:
    raise RAISED[work.x]


RAISED: list[BaseException] = [
    Permanent("no such file"),
    Permanent("\0" * 3000),
    Retryable("busy"),
    Retryable("busy", after=timedelta(minutes=7)),
    Retryable("busy", after=timedelta.max),
    ValueError("secret"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
    StopIteration(),
    MemoryError(),
]


@handler("wrongResult", process=True)
def wrong_result(task: TaskContext) -> Out:
    return "no model"  # type: ignore[return-value]


@handler("largest", process=True)
def largest(work: Work, task: TaskContext) -> Text:
    return Text(text="ü" * work.x)


@handler("crash", process=True)
def crash(work: Work, task: TaskContext) -> Out:
    match work.path:
        case "exit 3":
            os._exit(3)
        case "exit 0":
            os._exit(0)
        case "segfault":
            ctypes.string_at(0)
        case "kill":
            os.kill(os.getpid(), SIGKILL)
        case "real-time":
            os.kill(os.getpid(), SIGRTMIN + 2)
    return Out(x=1)


@handler("print", process=True)
def print_much(task: TaskContext) -> Out:
    print('{"result": {"x": 666}}\n' + "x" * 1_000_000)  # noqa: T201
    return Out(x=1)


@handler("writeIntoThePipe", process=True)
def write_into_the_pipe(work: Work, task: TaskContext) -> Out:
    pipe = int(sys.argv[1])
    line = b"x" * work.x if work.x else work.path.encode() + b"\n"
    os.write(pipe, line)
    while True:
        time.sleep(FOR_EVER)


@handler("hang", process=True, timeout=AT_ONCE)
def hang(task: TaskContext) -> Out:
    while True:
        time.sleep(FOR_EVER)


@handler("hangLong", process=True)
async def hang_long(work: Work, task: TaskContext) -> Out:
    say_who_runs(work, task)
    await asyncio.Event().wait()
    return Out(x=1)


@handler("leaveOneBehind", process=True)
def leave_one_behind(work: Work, task: TaskContext) -> Out:
    """Fork one that holds the pipe open; end at once."""
    if os.fork() == 0:
        time.sleep(FOR_EVER)
    say_who_runs(work, task)
    os._exit(4)


@handler("neverExit", process=True)
def never_exit(work: Work, task: TaskContext) -> Out:
    """Return, but leave a thread that keeps the interpreter from ending."""
    say_who_runs(work, task)
    threading.Thread(target=time.sleep, args=(FOR_EVER,)).start()
    return Out(x=1)


def say_who_runs(work: Work, task: TaskContext) -> Any:
    """Write down this process and one that it started, then tell by a report."""
    other = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({FOR_EVER})"])
    Path(work.path).write_text(f"{os.getpid()} {other.pid}")
    task.progress(0.5)
