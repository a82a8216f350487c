"""Keeps the API and the consumers running until a signal asks to stop, then ends them in order.

A process that ends is started again, ever later, and not for ever; before the API has been ready once, an
end means that something is set up wrongly, and then starting again would only hide the reason.
"""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Sequence

from taskql.devstack.console import Console
from taskql.devstack.errors import DevStackError
from taskql.devstack.process import Process, ProcessError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READY_SECONDS = 60.0
READY_POLL_SECONDS = 0.05
LOOK_SECONDS = 1.0
ANSWER_SECONDS = 2.0
GRACE_SECONDS = 10.0
RESTARTS = 5
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
STABLE_SECONDS = 30.0


class Keeper:
    """Runs processes side by side. `greet` is called once the address answers /readyz with 200, and `look`,
    which looks after the services below them, every second.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        console: Console,
        address: tuple[str, int],
        greet: Callable[[], None],
        look: Callable[[], None],
    ) -> None:
        self._processes = processes
        self._console = console
        self._address = address
        self._greet = greet
        self._look = look
        self._ready = False
        self._failure: str | None = None
        self._asked = asyncio.Event()

    async def run(self) -> None:
        """Return after a signal, with all ended. Raise ProcessError if one can't be kept running."""
        self._on_signal(self._asked.set)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep(process)) for process in self._processes]
            tasks.append(group.create_task(self._await_ready()))
            tasks.append(group.create_task(self._look_after_services()))
            await self._asked.wait()
            for each in tasks:
                each.cancel()
        await self._stop()
        if self._failure is not None:
            raise ProcessError(self._failure)

    async def _await_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                with self._console.timed("api", "ready"):
                    while not await answers(*self._address):
                        await asyncio.sleep(READY_POLL_SECONDS)
        except TimeoutError:
            self._console.release()
            return self._give_up(f"the API isn't ready after {READY_SECONDS:.0f} s; what it said is above")
        self._ready = True
        self._greet()
        self._console.release()

    async def _look_after_services(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self._look()
            except DevStackError as error:
                return self._give_up(str(error))

    async def _keep(self, process: Process) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            await process.start()
            await process.ended()
            failures = 1 if time.monotonic() - began > STABLE_SECONDS else failures + 1
            if not self._ready:
                return self._give_up(process.account())
            if failures > RESTARTS:
                return self._give_up(
                    f"{process.account()}\nThat was {failures} times in a row, so it is given up."
                )
            pause = min(FIRST_PAUSE_SECONDS * 2 ** (failures - 1), LONGEST_PAUSE_SECONDS)
            self._console.say(
                f"{process.account()}\nstarting it again in {pause:g} s ({failures} of {RESTARTS})"
            )
            await asyncio.sleep(pause)

    def _give_up(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._asked.set()

    async def _stop(self) -> None:
        """Ask all to stop; end them after the grace, or at once when asked a second time."""
        self._console.say("stopping … (Ctrl-C again: at once)")
        self._on_signal(self._kill)
        killing = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._kill)
        running = [process for process in self._processes if process.running]
        for process in running:
            process.ask_to_stop()
        for process in running:
            await process.ended()
        killing.cancel()

    def _kill(self) -> None:
        for process in self._processes:
            if process.running:
                self._console.say(f"{process.name} is still busy and is killed")
                process.kill()

    def _on_signal(self, act: Callable[[], None]) -> None:
        for number in STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, act)


async def answers(host: str, port: int) -> bool:
    """Whether /readyz says 200 there."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            with contextlib.closing(writer):
                writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return b" 200 " in await reader.readline()
    return False
