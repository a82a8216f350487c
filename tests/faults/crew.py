"""The processes of one deployment, each replaced as soon as it has ended."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import psutil

from tests.deployment import Deployment, Process, free_port, poll

LOOK_SECONDS = 0.1
START_SECONDS = 90.0
STOP_SECONDS = 60.0
GONE_SECONDS = 20.0
NAME = "TASKQL_FAULTS_NAME"
"""The variable by which a deployment's processes are known, their children among them."""
SAYS_WHEN_UP = {"gql": "serving http", "consumer": "ready: "}
UNEXPECTED = ("Traceback", "Task exception was never retrieved", "Unclosed")
"""What no log of ours may say, whatever breaks around us."""


@dataclass(slots=True)
class Post:
    role: str
    env: Mapping[str, str]
    process: Process


class Crew:
    """API processes, each at a URL of its own, and consumers."""

    def __init__(self, deployment: Deployment, consumers: int, apis: int = 1) -> None:
        self.faults: list[str] = []
        """What was wrong with a process."""
        self._deployment = deployment
        ports = [deployment.port, *(free_port() for _ in range(apis - 1))]
        self.addresses = [f"127.0.0.1:{port}" for port in ports]
        """Of the API processes."""
        settings = [("gql", {"PORT": str(port)}) for port in ports] + [("consumer", {})] * consumers
        self._posts = [Post(role, env, self._launched(role, env)) for role, env in settings]

    @property
    def apis(self) -> list[Process]:
        """Those that are at work."""
        return self._at_work("gql")

    @property
    def consumers(self) -> list[Process]:
        """Those that are at work."""
        return self._at_work("consumer")

    async def is_complete(self) -> None:
        """Return when all of them are at work."""
        async with asyncio.timeout(START_SECONDS):
            while not all(is_up(post.process) for post in self._posts):
                await asyncio.sleep(LOOK_SECONDS)

    @asynccontextmanager
    async def kept_up(self) -> AsyncIterator[None]:
        loop = asyncio.create_task(self._keep_up())
        try:
            yield
        finally:
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop

    async def stop(self, process: Process) -> None:
        """As an operator does: SIGTERM, then an end in time with exit code 0 (or a failpoint first)."""
        process.signal(signal.SIGTERM)
        if await self._ended(process) and (code := process.wait()) not in (0, -signal.SIGKILL):
            self.faults.append(f"{process.module} ended with {code} after SIGTERM: {process.said[-2000:]}")

    async def dismiss(self) -> None:
        """End all gracefully. Nothing may be left of them, and their logs tell of nothing unforeseen."""
        await asyncio.gather(*(self.stop(post.process) for post in self._posts if post.process.alive))
        with suppress(AssertionError):
            poll(lambda: not self.left_behind(), GONE_SECONDS)
        for process in self.left_behind():
            self.faults.append(f"left behind: {process.pid} {process.name()}")
            process.kill()
        for log in {process.log for process in self._deployment.processes}:
            text = log.read_text(errors="replace")
            for word in UNEXPECTED:
                if word in text:
                    at = text.index(word)
                    self.faults.append(f"{log.name} says: {text[max(0, at - 600) : at + 3000]}")

    def left_behind(self) -> list[psutil.Process]:
        """Processes anywhere on this machine that have this deployment's environment."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(NAME) == self._deployment.env[NAME]:
                    found.append(process)
        return found

    def _at_work(self, role: str) -> list[Process]:
        return [post.process for post in self._posts if post.role == role and is_up(post.process)]

    def _launched(self, role: str, env: Mapping[str, str]) -> Process:
        number = sum(process.module == role for process in self._deployment.processes)
        log = self._deployment.folder / f"{role}-{self._deployment.name}-{number}.log"
        process = Process(role, {**self._deployment.env, **env}, log)
        self._deployment.processes.append(process)
        return process

    async def _ended(self, process: Process) -> bool:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                while process.alive:
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            self.faults.append(f"{process.module} did not end in time after SIGTERM: {process.said[-2000:]}")
            process.kill()
            return False
        return True

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for post in self._posts:
                if not post.process.alive:
                    self._note_end(post.process)
                    post.process = self._launched(post.role, post.env)

    def _note_end(self, process: Process) -> None:
        """Killed or stopped by us it may be; start-up may fail for want of a service; nothing else."""
        code, said = process.wait(), process.said
        if code not in (0, -signal.SIGKILL) and not (code == 1 and "can't start" in said):
            self.faults.append(f"{process.module} ended by itself with {code}: {said[-2000:]}")


def is_up(process: Process) -> bool:
    """Whether it has said that it is at work."""
    return process.alive and SAYS_WHEN_UP[process.module] in process.said
