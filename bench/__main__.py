"""`make bench`: TaskQL beside what people would pick instead, on one machine, in one run.

Invariant: the runs of all entrants take turns, part by part, so that noise hits all alike; one that fails is
told of, and the others go on.
"""

import argparse
import asyncio
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path

import asyncpg
import redis.asyncio
import uvloop

from bench.alone import ALONE
from bench.entrants import ENTRANTS, PYTHON, Entrant
from bench.figures import FIGURES, PARTS, Session
from bench.noise import Foreign, wait_for_quiet
from bench.page import Book, page, version_of, versions_of_peers
from bench.server import HERE
from taskql.devstack import DevStack
from taskql.devstack.sqs import python as emulator_python

FULL_SECONDS = 6
"""Of a measurement; a shorter one is a trial."""
PAGE = HERE / "results.md"


def main() -> int:
    options = arguments()
    if not Path(PYTHON).exists():
        print("TaskQL: the load generator is not installed; run `make bench`", file=sys.stderr)
        return 1
    logging.disable(logging.WARNING)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, most), most))
    scale = min(1.0, options.seconds / FULL_SECONDS)
    book = Book(options.repeats, scale)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with DevStack(data=folder / "services", say=lambda _: None) as stack:
            session = Session(stack, folder, options.seconds, scale)
            versions = uvloop.run(measure(options, session, book))
    text = page(book, {**versions, **versions_of_peers()})
    options.output.write_text(text)
    print(text)
    return 0


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
    parser.add_argument("--seconds", type=float, default=FULL_SECONDS, help="of each; below 6: a trial (6)")
    parser.add_argument("--quiet", type=float, default=10, help="wait so long for others to be quiet (10)")
    parser.add_argument("--idle", type=float, default=180, help="seconds without work (180)")
    parser.add_argument("--large", action="store_true", help="growth with a million and ten million rows too")
    parser.add_argument("--output", type=Path, default=PAGE, help="bench/results.md")
    return parser.parse_args()


def some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]}: choose from {', '.join(known)}")
        return names

    return parse


async def measure(options: argparse.Namespace, session: Session, book: Book) -> dict[str, str]:
    entrants = present([ENTRANTS[name] for name in options.only if name in ENTRANTS], book)
    began = time.monotonic()
    for number in range(options.repeats):
        for part in options.parts:
            for entrant in entrants:
                if part in entrant.parts:
                    at = f"{time.monotonic() - began:.0f} s, round {number + 1}, {part}: {entrant.title}"
                    print(at, file=sys.stderr, flush=True)
                    with book.beside.surviving(f"{entrant.title}, {part},"):
                        await take(entrant, part, options.quiet, session, book)
    for name in options.only:
        if name in ALONE:
            print(f"{time.monotonic() - began:.0f} s, {name}", file=sys.stderr, flush=True)
            with book.beside.surviving(name):
                await ALONE[name](session, options, book)
    return await versions_of_services(session)


def present(entrants: list[Entrant], book: Book) -> list[Entrant]:
    """Those that can take part here; the page tells of the others."""
    here = []
    for entrant in entrants:
        if why := entrant.missing():
            book.beside.note(f"{entrant.title} was left out: {why}.")
        else:
            here.append(entrant)
    return here


async def take(entrant: Entrant, part: str, quiet: float, session: Session, book: Book) -> None:
    """One part of one entrant, on processes of its own and clean services."""
    async with entrant.open(session.stack, session.folder) as server:
        await settle(session.stack)
        await wait_for_quiet(quiet)
        with Foreign() as foreign:
            taken = await PARTS[part](session, entrant, server)
    book.foreign.append(foreign.cores)
    for figure, value in taken.values.items():
        book.beside.add(figure, entrant.name, value, FIGURES[figure].unit)
    for done, used in taken.cpu.items():
        for process, microseconds in used.items():
            book.cpu.add(f"{done} {process}", entrant.name, microseconds, "us")


async def settle(stack: DevStack) -> None:
    """Leave the next one nothing to do that the last one caused."""
    client = redis.asyncio.Redis.from_url(stack.env["REDIS_URL"])
    await client.flushall()
    await client.aclose()
    connection = await asyncpg.connect(stack.env["DATABASE_URL"])
    await connection.execute("CHECKPOINT")
    await connection.close()


async def versions_of_services(session: Session) -> dict[str, str]:
    connection = await asyncpg.connect(session.stack.env["DATABASE_URL"])
    postgres = await connection.fetchval("SHOW server_version")
    durable = [await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")]
    await connection.close()
    client = redis.asyncio.Redis.from_url(session.stack.env["REDIS_URL"])
    valkey = (await client.info("server"))["valkey_version"]
    await client.aclose()
    return {
        "PostgreSQL": f"{postgres} (fsync {durable[0]}, synchronous_commit {durable[1]})",
        "Valkey": valkey,
        "ministack": await asyncio.to_thread(version_of, "ministack", emulator_python()),
    }


if __name__ == "__main__":
    sys.exit(main())
