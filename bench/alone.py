"""What is measured of TaskQL alone: with more processes, and with nothing to do."""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from bench.figures import Session
from bench.growth import growth
from bench.noise import memory_of
from bench.ours import Ours, knows
from bench.page import Book
from bench.table import Results
from bench.tally import Tally
from tests.deployment import QUEUES

PROCESSES = (1, 2)
END_TO_END_TASKS = 2000
HOUR_SECONDS = 3600
NAMES = {
    "server": "API",
    "worker": "consumer",
    "postgres": "PostgreSQL",
    "redis": "Valkey",
    "sqs": "emulator",
}


async def cores(session: Session, options: argparse.Namespace, book: Book) -> None:
    """The API's processes are free to run anywhere: two of them on one core would show nothing."""
    results = book.section("More cores: API processes and consumers")
    if not knows("WORKERS"):
        results.note("One API process alone: TaskQL has no setting WORKERS yet.")
    for _ in range(options.repeats):
        for apis in PROCESSES if knows("WORKERS") else (1,):
            for consumers in PROCESSES:
                settings = {"WORKERS": str(apis)} if apis > 1 else {}
                case = f"API processes: {apis}, consumers: {consumers}"
                with results.surviving(case):
                    async with Ours(session.stack, session.folder, settings, pinned=False) as ours:
                        await with_processes(session, ours, consumers, case, results)


async def with_processes(session: Session, ours: Ours, consumers: int, case: str, results: Results) -> None:
    await ours.start_worker(consumers)
    found = await session.load(ours, "e2e", "--n", session.many(END_TO_END_TASKS))
    results.add("end to end", case, found["tasks_per_s"], "tasks/s")
    await ours.stop_worker()
    for figure, op in (("createTask", "create"), ("read one task", "task")):
        found = await session.load(ours, "ops", "--op", op, "--seconds", session.seconds)
        results.add(figure, case, found["per_s"], "/s")


async def idle(session: Session, options: argparse.Namespace, book: Book) -> None:
    """How soon the processes are there, what they weigh, and what a consumer without work asks of SQS."""
    results = book.section("Start-up, memory, and an idle consumer")
    results.note(
        f"SQS requests of an idle consumer were counted for {options.idle:.0f} s by a proxy before the "
        "emulator and scaled to an hour. They are for all four queues."
    )
    for _ in range(options.repeats):
        async with Ours(session.stack, session.folder) as ours:
            began = time.perf_counter()
            await ours.start_worker()
            results.add("start", "consumer", time.perf_counter() - began, "s")
            results.add("start", "API", ours.start_seconds, "s")
            weigh(session, ours, "memory at rest", results)
            await session.load(ours, "e2e", "--n", session.many(END_TO_END_TASKS))
            weigh(session, ours, "memory after work", results)
    async with Tally(urlsplit(session.stack.env["AWS_ENDPOINT_URL"]).netloc) as tally:
        queues = ("AWS_ENDPOINT_URL", *QUEUES)
        async with Ours(session.stack, session.folder) as ours:
            for name in queues:
                ours.deployment.env[name] = tally.stands_for(ours.deployment.env[name])
            await ours.start_worker()
            tally.counted.clear()
            await asyncio.sleep(options.idle)
            for action, count in sorted(tally.counted.items()):
                results.add(f"{action} an hour", "consumer", count * HOUR_SECONDS / options.idle, "")
            for name in queues:
                ours.deployment.env[name] = tally.instead_of(ours.deployment.env[name])


def weigh(session: Session, ours: Ours, when: str, results: Results) -> None:
    for name, pid in {**ours.pids, **session.services}.items():
        results.add(when, NAMES[name], memory_of(pid) / 2**20, "MiB")


ALONE: dict[str, Callable[[Session, argparse.Namespace, Book], Awaitable[None]]] = {
    "cores": cores,
    "idle": idle,
    "growth": growth,
}
