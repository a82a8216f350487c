"""Several API processes on one socket: WORKERS of them, for as many cores.

Invariant: whatever ends this process ends all of them; one that ends unasked is started again, unless it
can't start at all. The kernel gives each connection to one that is free to take it.
"""

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
from datetime import timedelta

from taskql.errors import StartupError

PR_SET_PDEATHSIG = 1
SIGNALS = (signal.SIGTERM, signal.SIGINT)
REST = timedelta(seconds=1)
"""Before one that has ended is started again."""
START = timedelta(seconds=60)
"""Who ends within this, with exit code 1, could not start: the others could not either, unless one before
has lasted longer. Then this one met an outage, which those that run survive.
"""

logger = logging.getLogger(__name__)


async def serve_together(listener: socket.socket, count: int) -> None:
    """Keep `count` processes serving until a signal comes. Raises StartupError where they can't."""
    stopping = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    listener.set_inheritable(True)
    keepers = {asyncio.create_task(keep(listener, stopping)) for _ in range(count)}
    done, _ = await asyncio.wait(keepers, return_when=asyncio.FIRST_EXCEPTION)
    stopping.set()
    await asyncio.wait(keepers)
    for keeper in done:
        keeper.result()


async def keep(listener: socket.socket, stopping: asyncio.Event) -> None:
    """One process, again and again."""
    stop = asyncio.create_task(stopping.wait())
    loop = asyncio.get_running_loop()
    has_lasted = False
    while not stopping.is_set():
        began = loop.time()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gql", "--listener", str(listener.fileno())),
            *("--parent", str(os.getpid())),
            pass_fds=[listener.fileno()],
        )
        ended = asyncio.create_task(process.wait())
        await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
        has_lasted = has_lasted or loop.time() - began >= START.total_seconds()
        if stopping.is_set():
            if process.returncode is None:
                process.terminate()
            await ended
        elif process.returncode == 1 and not has_lasted:
            stopping.set()
            raise StartupError("a worker could not start; it has said why.")
        else:
            logger.error("a worker has ended with code %s; another one takes its place", process.returncode)
            await asyncio.wait({stop}, timeout=REST.total_seconds())


def die_with(parent: int) -> None:
    """Ask the kernel to end us when our parent ends, however that comes about."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before the kernel knew of our wish
        sys.exit("the parent is gone")
