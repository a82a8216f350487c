"""What is measured of TaskQL alone: with more processes, and with nothing to do."""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from bench.growth import growth
from bench.noise import memory_of
from bench.ours import Ours
from bench.page import Book
from bench.session import Session
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
    results.note(
        "Services and the load generator run on the same cores: if they are few, more processes gain little."
    )
    for _ in range(options.repeats):
        for apis in PROCESSES:
            for consumers in PROCESSES:
                case = f"API processes: {apis}, consumers: {consumers}"
                with results.surviving(case):
                    settings = {"WORKERS": str(apis)}
                    async with Ours(session.stack, session.folder, settings, pinned=False) as ours:
                        await with_processes(session, ours, consumers, case, results)


async def with_processes(session: Session, ours: Ours, consumers: int, case: str, results: Results) -> None:
    await ours.start_worker(consumers)
    tasks = session.many(END_TO_END_TASKS)
    found = await session.load(ours, "e2e", "--n", tasks, "--warm-n", tasks // 4)
    results.add("end to end", case, found["tasks_per_s"], "tasks/s")
    results.add("CPU of all processes", case, sum(found["cpu_us_per_op"].values()), "us")
    await ours.stop_worker()
    for figure, op in (("createTask", "create"), ("read one task", "task")):
        found = await session.load(ours, "ops", "--op", op, "--seconds", session.seconds)
        results.add(figure, case, found["per_s"], "/s")


async def idle(session: Session, options: argparse.Namespace, book: Book) -> None:
    """How soon the processes are there, what they weigh, and what a consumer without work asks of SQS."""
    results = book.section("Start-up, memory, and an idle consumer")
    results.note("Memory is resident; what processes share counts for each in part.")
    for _ in range(options.repeats):
        with results.surviving("Start-up and memory"):
            async with Ours(session.stack, session.folder) as ours:
                began = time.perf_counter()
                await ours.start_worker()
                results.add("start", "consumer", time.perf_counter() - began, "s")
                results.add("start", "API", ours.start_seconds, "s")
                weigh(session, ours, "memory at rest", results)
                await session.load(ours, "e2e", "--n", session.many(END_TO_END_TASKS))
                weigh(session, ours, "memory after work", results)
    with results.surviving("SQS requests"):
        await count_requests(session, options.idle, results)


def weigh(session: Session, ours: Ours, when: str, results: Results) -> None:
    for name, pid in {**ours.pids, **session.services}.items():
        results.add(when, NAMES[name], memory_of(pid) / 2**20, "MiB")


async def count_requests(session: Session, seconds: float, results: Results) -> None:
    """What a consumer, which does without work for so long, asks of SQS."""
    upstream = urlsplit(session.stack.env["AWS_ENDPOINT_URL"]).netloc
    async with Tally(upstream) as tally, Ours(session.stack, session.folder) as ours:
        addresses = {name: ours.deployment.env[name] for name in ("AWS_ENDPOINT_URL", *QUEUES)}
        ours.deployment.env |= {name: tally.stands_for(address) for name, address in addresses.items()}
        await ours.start_worker()
        ours.deployment.env |= addresses
        tally.counted.clear()
        await asyncio.sleep(seconds)
        for action, count in sorted(tally.counted.items()):
            results.add(f"{action} an hour", "consumer", count * HOUR_SECONDS / seconds, "")
    results.note(
        f"SQS requests of a consumer without work, to all its queues: counted for {seconds:.0f} s; scaled."
    )


ALONE: dict[str, Callable[[Session, argparse.Namespace, Book], Awaitable[None]]] = {
    "cores": cores,
    "idle": idle,
    "growth": growth,
}
