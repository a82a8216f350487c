"""The rounds of a run: in each, stage after stage, the entrants take turns, so that noise hits all alike.

Invariant: one that fails is told of and the others go on, and whatever was found is on the page at once.
"""

import argparse
import asyncio
import signal
import sys
import time

import asyncpg
import redis.asyncio

from bench.alone import ALONE
from bench.entrants import ENTRANTS, Entrant
from bench.figures import FIGURES
from bench.noise import Foreign, wait_for_quiet
from bench.page import Book, version_of
from bench.parts import PARTS, STAGES, Taken
from bench.session import Session
from taskql.devstack import DevStack
from taskql.devstack.sqs import python as emulator_python


async def measure(options: argparse.Namespace, session: Session, book: Book) -> None:
    stop_when_told()
    book.versions = {**await versions_of_services(session.stack), **book.versions}
    entrants = present([ENTRANTS[name] for name in options.only if name in ENTRANTS], book)
    began = time.monotonic()
    for number in range(options.repeats):
        for stage in STAGES:
            for entrant in entrants:
                if parts := [part for part in stage if part in options.parts and part in entrant.parts]:
                    told = f"round {number + 1}, {' and '.join(parts)}: {entrant.title}"
                    print(f"{time.monotonic() - began:.0f} s, {told}", file=sys.stderr, flush=True)
                    await take(entrant, parts, options.quiet, session, book)
    for name in options.only:
        if name in ALONE:
            print(f"{time.monotonic() - began:.0f} s, {name}", file=sys.stderr, flush=True)
            with Foreign() as foreign, book.beside.surviving(name):
                await ALONE[name](session, options, book)
            book.foreign.append(foreign.cores)
    book.write()


def stop_when_told() -> None:
    """A signal ends what was started too, and not this process alone."""
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    assert this is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, this.cancel)


def present(entrants: list[Entrant], book: Book) -> list[Entrant]:
    """Those that can take part here; the page tells of the others."""
    here = []
    for entrant in entrants:
        if why := entrant.missing():
            book.beside.note(f"{entrant.title} was left out: {why}.")
        else:
            here.append(entrant)
    return here


async def take(entrant: Entrant, parts: list[str], quiet: float, session: Session, book: Book) -> None:
    """Parts of one entrant, on processes of its own and clean services."""
    cells = [(part, entrant.name) for part in parts]
    with book.beside.surviving(entrant.title, *cells):
        async with entrant.open(session.stack, session.folder) as server:
            await settle(session.stack)
            await wait_for_quiet(quiet)
            for cell in cells:
                with book.beside.surviving(f"{entrant.title}, {cell[0]},", cell):
                    with Foreign() as foreign:
                        taken = await PARTS[cell[0]](session, entrant, server)
                    book.foreign.append(foreign.cores)
                    enter(taken, entrant, book)


def enter(taken: Taken, entrant: Entrant, book: Book) -> None:
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


async def versions_of_services(stack: DevStack) -> dict[str, str]:
    connection = await asyncpg.connect(stack.env["DATABASE_URL"])
    postgres = await connection.fetchval("SHOW server_version")
    durable = [await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")]
    await connection.close()
    client = redis.asyncio.Redis.from_url(stack.env["REDIS_URL"])
    valkey = (await client.info("server"))["valkey_version"]
    await client.aclose()
    return {
        "PostgreSQL": f"{postgres} (fsync {durable[0]}, synchronous_commit {durable[1]})",
        "Valkey": valkey,
        "ministack": await asyncio.to_thread(version_of, "ministack", emulator_python()),
    }
