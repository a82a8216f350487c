"""`make bench`: TaskQL beside what people would pick instead, on one machine, in one run."""

import argparse
import asyncio
import logging
import resource
import shlex
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

import uvloop

from bench.alone import ALONE
from bench.entrants import ENTRANTS, PYTHON
from bench.growth import FINISHED, WAITING
from bench.page import Book, page, versions_of_peers
from bench.parts import PARTS
from bench.rounds import measure
from bench.server import HERE
from bench.session import Session
from taskql.devstack import DevStack

FULL_SECONDS = 4
"""Of a measurement; a shorter one is a trial."""
PAGE = HERE / "results.md"
INTERRUPTED = 130


def main() -> int:
    options = arguments()
    if not Path(PYTHON).exists():
        print("TaskQL: the load generator is not installed; run `make bench`", file=sys.stderr)
        return 1
    logging.disable(logging.WARNING)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, most), most))
    scale = min(1.0, options.seconds / FULL_SECONDS)
    typed = command(sys.argv[1:])
    book = Book(options.repeats, scale, typed, versions=versions_of_peers(), output=options.output)
    try:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            with DevStack(data=folder / "services", say=lambda _: None) as stack:
                uvloop.run(measure(options, Session(stack, folder, options.seconds, scale), book))
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("TaskQL: interrupted; the page has what was found before", file=sys.stderr)
        return INTERRUPTED
    print(page(book))
    return 0


def command(words: list[str]) -> str:
    """What was typed, as far as it can be known."""
    return f'make bench BENCH="{shlex.join(words)}"' if words else "make bench"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench", description="Measure TaskQL beside others.")
    known = [*ENTRANTS, *ALONE]
    parser.add_argument(
        "--only", type=some_of(known), default=[*ENTRANTS, "cores", "idle"],
        help=f"some of {', '.join(known)}; all but growth",
    )  # fmt: skip
    parser.add_argument(
        "--parts", type=some_of(PARTS), default=list(PARTS), help=f"some of {', '.join(PARTS)}"
    )
    parser.add_argument("--repeats", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument(
        "--seconds", type=float, default=FULL_SECONDS, help=f"of each; below {FULL_SECONDS}: a trial (4)"
    )
    parser.add_argument("--quiet", type=float, default=5, help="wait so long for others to be quiet (5)")
    parser.add_argument("--idle", type=float, default=60, help="seconds without work (60)")
    parser.add_argument(
        "--waiting", type=numbers, default=WAITING, help="growth: how many tasks wait (0,10000,1000000)"
    )
    parser.add_argument(
        "--finished", type=numbers, default=FINISHED, help="growth: how many are over (10000000)"
    )
    parser.add_argument("--output", type=Path, default=PAGE, help="bench/results.md")
    return parser.parse_args()


def some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]}: choose from {', '.join(known)}")
        return names

    return parse


def numbers(text: str) -> tuple[int, ...]:
    """Of rows; an empty text is none."""
    return tuple(int(each) for each in text.split(",") if each)


if __name__ == "__main__":
    sys.exit(main())
