"""Build the pages, check their types, or only install what a folder names: `build.py [--optional | --types |
--install FOLDER]`.

Runs on any Python 3.11+ with nothing installed. Node is this machine's where Vite can use it, else one from
wheels, in an environment of its own. web/dist appears whole or not at all: the time of its page tells `make`
when it was built.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
NODE = ROOT / ".venv-node"
NODE_LIST = ROOT / "requirements" / "node.txt"


class BuildError(Exception):
    """What went wrong and what to do about it, in words for whoever typed `make`."""


def build() -> None:
    began = time.monotonic()
    say("building GraphiQL (about 20 s, once) …")
    env = set_up()
    npm("run", "build", "--", "--outDir=.dist-new", "--emptyOutDir", env=env)
    put_in_place(WEB / ".dist-new", WEB / "dist")
    say(f"built GraphiQL in {time.monotonic() - began:.0f} s")


def check_types() -> None:
    npm("run", "types", env=set_up())


def set_up(folder: Path = WEB) -> Mapping[str, str]:
    """Install the packages that a folder's lock names; the environment to run them in."""
    env = node_environment()
    # npm writes this file last, and removes it first.
    if not is_newer(
        folder / "node_modules" / ".package-lock.json", folder / "package.json", folder / "package-lock.json"
    ):
        npm("ci", "--include=dev", env=env, folder=folder)
    return env


def node_environment() -> Mapping[str, str]:
    """This machine's environment if it has a Node that will do, else the same with one of our own."""
    if has_node(os.environ):
        return os.environ
    ours = {**os.environ, "PATH": f"{NODE / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
    if not (is_newer(NODE / ".installed", NODE_LIST) and has_node(ours)):
        install = [sys.executable, ROOT / "requirements" / "install.py", NODE, NODE_LIST]
        if subprocess.run([str(word) for word in install], check=False).returncode:
            raise BuildError("found no Node 20.19, 22.12 or newer, and could not install one; see above.")
        (NODE / ".installed").touch()
    if not has_node(ours):
        raise BuildError("the Node that pip has installed doesn't run here: install Node 22.12 or newer.")
    return ours


def has_node(env: Mapping[str, str]) -> bool:
    """Whether node and npm are there, in a version that Vite 8 runs on."""
    node = shutil.which("node", path=env.get("PATH"))
    if not (node and shutil.which("npm", path=env.get("PATH"))):
        return False
    try:
        said = subprocess.run(
            [node, "--version"], env=env, capture_output=True, text=True, check=False
        ).stdout
    except OSError:  # made for another system
        return False
    found = re.match(r"v(\d+)\.(\d+)", said)
    version = (int(found[1]), int(found[2])) if found else (0, 0)
    return (20, 19) <= version < (21, 0) or version >= (22, 12)


def npm(*arguments: str, env: Mapping[str, str], folder: Path = WEB) -> None:
    """Run it quietly; what it said is shown where it fails."""
    command = [shutil.which("npm", path=env.get("PATH")) or "npm", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        print(done.stdout, end="", file=sys.stderr)
        raise BuildError(f"`npm {' '.join(arguments)}` failed in {folder.name}/; what it said is above.")


def put_in_place(new: Path, place: Path) -> None:
    """Swap the folders: an API that serves them misses them for no more than an instant."""
    old = place.with_name(".dist-old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def is_newer(mark: Path, *sources: Path) -> bool:
    return mark.exists() and all(mark.stat().st_mtime >= source.stat().st_mtime for source in sources)


@contextmanager
def alone() -> Iterator[None]:
    """Let two `make` at once take turns rather than write over each other."""
    with (WEB / ".build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(line: str) -> None:
    print(f"TaskQL: {line}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser("build.py", description="Build the pages.")
    parser.add_argument("--optional", action="store_true", help="a failure is told, but is none")
    parser.add_argument("--types", action="store_true", help="build nothing; check the types")
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="build nothing; install its packages")
    options = parser.parse_args()
    try:
        with alone():
            if options.install:
                set_up(options.install)
            elif options.types:
                check_types()
            else:
                build()
    except BuildError as error:
        say(str(error))
        if not options.optional:
            return 1
        say("going on all the same: the API needs no page. `make web` tries again.")
    except KeyboardInterrupt:
        say("interrupted; run make again to go on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
