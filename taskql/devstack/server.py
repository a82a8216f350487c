"""One server process: a direct child that can't outlive us, and can be hurt on purpose.

Invariant: a server's lock is held by its processes alone (they inherit it). Whoever gets it knows that no
process of an earlier server is left on these files, however that one ended.
"""

import contextlib
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from taskql.devstack import family
from taskql.devstack.errors import DevStackError
from taskql.devstack.folder import Folder
from taskql.devstack.identity import CALLER, Identity
from taskql.devstack.lock import Lock

POLL_SECONDS = 0.01
READY_SECONDS = 30.0
STOP_SECONDS = 5.0
EVICT_AFTER_SECONDS = 2.0
EVICTED_SECONDS = 8.0
LOG_BYTES = 5_000_000
LOG_LINES = 15


class Server(ABC):
    """What the three have in common; each says how it is started, and when it is ready."""

    name: ClassVar[str]
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Folder, identity: Identity = CALLER) -> None:
        self.folder = folder
        self.identity = identity
        self.log = folder.logs / f"{self.name}.log"
        self._lock = Lock(folder.path / f"{self.name}.lock")
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._stop_by = 0.0

    @property
    @abstractmethod
    def env(self) -> dict[str, str]:
        """The settings with which TaskQL finds this server."""

    @abstractmethod
    def prepare(self) -> None:
        """Make or mend its files; no other process is on them."""

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it serves; asked again and again, so it must not wait for long."""

    def environment(self) -> dict[str, str]:
        """A clean one: no PGPORT or AWS_PROFILE of the user's may reach a server."""
        inherited = {
            name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ
        }
        return inherited | {"LC_ALL": "C.UTF-8", "TZ": "UTC"}

    def descriptors(self) -> list[int]:
        """What it inherits besides its lock."""
        return []

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise DevStackError(f"{self.name} has not been started")
        return self._process.pid

    def start(self) -> None:
        """Start (again) on the same files and address, and wait until it serves."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        if self.alive:
            return
        self._take_lock()
        try:
            self.prepare()
            self._process = self._spawn()
        finally:
            self._lock.let_go()

    def await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            if not self.alive:
                raise DevStackError(f"{self.name} ended while starting. {self._last_words()}")
            if time.monotonic() > deadline:
                raise DevStackError(
                    f"{self.name} isn't ready after {READY_SECONDS:.0f} s. {self._last_words()}"
                )
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Gracefully, and within a few seconds in any case."""
        self.ask_to_stop()
        self.await_stopped()

    def ask_to_stop(self) -> None:
        if self._process is not None and self.alive:
            self.resume()
            self._stop_by = time.monotonic() + STOP_SECONDS
            self._process.send_signal(self.stop_signal)

    def await_stopped(self) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, self._stop_by - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL for it and its children at one moment, as when the machine fails."""
        if self._process is not None and self.alive:
            family.kill(self._process.pid)
            self._process.wait()

    def pause(self) -> None:
        """Freeze it and its children: connections stay open and nothing answers."""
        if self.alive:
            family.freeze(self.pid)

    def resume(self) -> None:
        if self.alive:
            family.thaw(self.pid)

    def run_to_end(self, command: list[str], text: str = "") -> None:
        """Run a command in the server's identity, under its lock, into its log."""
        with self._open_log() as log:
            result = subprocess.run(self._as_child(command), input=text.encode(), **self._options(log))
        if result.returncode != 0:
            raise DevStackError(f"{self.name}: {Path(command[0]).name} failed. {self._last_words()}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._open_log() as log:
            return subprocess.Popen(
                self._as_child(self.command()), stdin=subprocess.DEVNULL, **self._options(log)
            )

    def _as_child(self, command: list[str]) -> list[str]:
        return [*self.identity.launcher(self.death_signal), *command]

    def _options(self, log: BinaryIO) -> dict[str, Any]:
        return {
            "stdout": log,
            "stderr": log,
            "cwd": "/",
            "env": self.environment(),
            "pass_fds": [self._lock.descriptor, *self.descriptors()],
            "start_new_session": True,  # a terminal's Ctrl-C is for us: we stop it after those who use it
        }

    def _open_log(self) -> BinaryIO:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.log, flags, 0o600)
        if os.fstat(descriptor).st_size > LOG_BYTES:
            os.ftruncate(descriptor, 0)
        self._log_start = os.fstat(descriptor).st_size
        return open(descriptor, "ab", buffering=0)

    def _take_lock(self) -> None:
        """Wait for an earlier server's end; one that was frozen never heard that its stack is gone."""
        if self._lock.acquire(EVICT_AFTER_SECONDS):
            return
        for pid in self._lock.holders():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if holder := self._lock.taken_by(EVICTED_SECONDS):
            raise DevStackError(
                f"{self.name} of an earlier stack ({holder}) still runs on {self.folder.path}; "
                "end it or choose another folder with DATA=…"
            )

    def _last_words(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([f"The end of {self.log}:", *lines])
