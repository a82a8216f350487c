"""Build the pages of the examples, types checked: `python -m examples.build`, from the checkout's root.

Runs on any Python 3.11+ with nothing installed, on the Node that builds web/. The stamp is written last: what
was cut short is built by the next `make`.
"""

from __future__ import annotations

import fcntl
import sys
import time
from pathlib import Path

from web.build import BuildError, is_newer, node_environment, npm, say

EXAMPLES = Path(__file__).resolve().parent
STAMP = EXAMPLES / "node_modules" / ".built"


def build() -> None:
    began = time.monotonic()
    say("building the examples' pages (about 20 s, once) …")
    env = node_environment()
    # npm writes this file last, and removes it first.
    if not is_newer(EXAMPLES / "node_modules" / ".package-lock.json", *manifests()):
        npm("ci", "--include=dev", env=env, folder=EXAMPLES)
    npm("run", "build", "--workspaces", env=env, folder=EXAMPLES)
    STAMP.touch()
    say(f"built the examples' pages in {time.monotonic() - began:.0f} s")


def manifests() -> list[Path]:
    return [*EXAMPLES.glob("package*.json"), *EXAMPLES.glob("follow-*/package.json")]


def main() -> int:
    try:
        with (EXAMPLES / ".build.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two `make` at once take turns
            build()
    except BuildError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; run make again to go on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
