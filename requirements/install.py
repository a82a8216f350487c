"""Make one virtual environment and fill it from hash-pinned lists: `install.py FOLDER LIST...`.

Runs on any Python 3.11+ with nothing installed, and uses pip, which honours the machine's own registry
settings. What was cut short is made good by the next run: pip leaves half-written packages behind that it
takes for whole ones, so a mark in the folder stands for as long as an installation is under way.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PIP_OPTIONS = ("--quiet", "--no-input", "--disable-pip-version-check")


class SetupError(Exception):
    """What went wrong and what to do about it, in words for whoever typed `make`."""


def main(folder: Path, lists: list[Path]) -> None:
    """Leave an environment behind that holds all that the lists name, whatever was there before."""
    # An older Python may well have started this file.
    if sys.version_info < (3, 11):  # noqa: UP036
        raise SetupError(f"needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}")
    with alone(folder):
        make_environment(folder)
        install(folder, lists)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let two `make` at once take turns rather than write over each other."""
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_environment(folder: Path) -> None:
    """Make the environment unless there is one that works; one whose Python has gone is made anew."""
    if succeeds([python_of(folder), "-m", "pip", "--version"]):
        return
    say(f"making {folder.name} with Python {sys.version.split()[0]}")
    if succeeds([sys.executable, "-m", "venv", "--clear", folder]):
        return
    # Debian's python3 has no venv unless python3-venv is installed; virtualenv does without it.
    with tempfile.TemporaryDirectory() as tools:
        fetch = [sys.executable, "-m", "pip", "install", *PIP_OPTIONS, "--target", tools, "virtualenv"]
        make = [sys.executable, "-m", "virtualenv", "--quiet", "--clear", str(folder)]
        if succeeds(make) or (succeeds(fetch) and succeeds(make, PYTHONPATH=tools)):
            return
    shutil.rmtree(folder, ignore_errors=True)
    raise SetupError(
        f"{sys.executable} can make no virtual environment: it has neither venv nor pip. "
        "Install them (Debian: apt-get install python3-venv) or name another: make PYTHON=python3.12"
    )


def install(folder: Path, lists: list[Path]) -> None:
    """Install exactly what the lists name, each file checked against its hash."""
    names = " ".join(each.stem for each in lists)
    say(f"installing dependencies ({names}: up to a minute, once) …")
    under_way = folder / ".installing"
    repair = ["--ignore-installed"] if under_way.exists() else []
    under_way.touch()
    began = time.monotonic()
    options = [*PIP_OPTIONS, *repair, "--require-hashes", "--no-deps"]
    files = [f"--requirement={each}" for each in lists]
    command = [str(python_of(folder)), "-m", "pip", "install", *options, *files]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(done.stderr, end="", file=sys.stderr)
        raise SetupError(
            "pip could not install the dependencies; what it said is above. Then run make again."
        )
    under_way.unlink()
    say(f"installed in {time.monotonic() - began:.0f} s")


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def succeeds(command: Sequence[str | Path], **environment: str) -> bool:
    try:
        done = subprocess.run(
            command, env=os.environ | environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


def say(line: str) -> None:
    print(f"TaskQL: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]).absolute(), [Path(each) for each in sys.argv[2:]])
    except SetupError as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted; run make again to go on")
        sys.exit(130)
