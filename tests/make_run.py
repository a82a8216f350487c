"""`make run`, as somebody who has just cloned the repository types it, for tests."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.deployment import ROOT, poll

READY_SECONDS = 90
END_SECONDS = 60


class Run:
    """One `make run` (or another command of the checkout) with its output so far."""

    def __init__(self, command: list[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        env = {**plain_environment(), **(env or {})}
        with self._file("stdout").open("wb") as out, self._file("stderr").open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def stdout(self) -> str:
        return self._file("stdout").read_text()

    @property
    def stderr(self) -> str:
        return self._file("stderr").read_text()

    @property
    def supervisor(self) -> psutil.Process:
        """The one child of make: its recipe becomes the supervisor by `exec`."""
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def program(self, module: str) -> psutil.Process | None:
        """The process that runs `python -m MODULE`, once it does."""
        for child in self.supervisor.children():
            if child.cmdline()[1:] == ["-m", module]:
                return child
        return None

    def until_says(self, text: str) -> None:
        poll(lambda: text in self.stdout or self.process.poll() is not None, READY_SECONDS)
        assert text in self.stdout, self.stdout + self.stderr

    def end(self) -> int:
        return self.process.wait(END_SECONDS)

    def _file(self, name: str) -> Path:
        return self.folder / name


def plain_environment() -> dict[str, str]:
    """Ours, without what `make test` or a developer's shell would add to a `make run` of its own."""
    ours = (
        "MAKE",
        "MFLAGS",
        "PORT",
        "HOST",
        "DATA",
        "CONSUMERS",
        "TASKQL_",
        "DATABASE_",
        "REDIS_",
        "SQS_",
        "AWS_",
    )
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@contextmanager
def make_run(folder: Path, port: int, env: Mapping[str, str] | None = None) -> Iterator[Run]:
    """`make run`, ready, on data in `folder`; all of it is gone afterwards."""
    run = Run(["make", "run", f"PORT={port}", f"DATA={folder / 'data'}"], folder, env)
    try:
        run.until_says("watch it live")
        yield run
    finally:
        run.process.terminate()
        run.end()


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=END_SECONDS)
    assert alive == []
