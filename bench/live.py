"""Live status: what a subscriber and an event cost, and what the status cache saves.

`python -m bench.live` starts services of its own, measures each server in turn, and writes results/live.md.
"""

import argparse
import asyncio
import logging
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import psutil
import uvloop

from bench.entrants import ENTRANTS
from bench.noise import CpuMeter
from bench.ours import Ours
from bench.server import CLIENT_CORE, Server, pin
from bench.table import Results
from bench.watcher import Crowd, Poller
from taskql.devstack import DevStack

PARTS = ("fanout", "storm", "commit", "polling")
RESULTS = Path(__file__).resolve().parent / "results" / "live.md"
WARM_UP = 50
ROUNDS = 60
PACED_ROUNDS, PACE_SECONDS = 40, 0.1
SETTLE_SECONDS = 1.5
ROUND_SECONDS = 20.0
STORM_SECONDS = 180.0
AT_ONCE = 500
STRAWBERRY_STORM = 2000
"""It holds a Redis connection for each subscription, and Redis takes 10,000 in all."""
STEPS, STEP_SECONDS = 40, 0.25
READS, POLLERS, POLLED = 3200, 16, 20
LIMIT_SECONDS = 300.0
"""A measurement that takes longer has failed."""
STATISTICS_SECONDS = 2.5
"""PostgreSQL's sessions tell of their transactions about once a second."""
READ = "query One($id: ID!) { task(id: $id) { id status version progress { fraction message } } }"
Made = Callable[[], AbstractAsyncContextManager[Any]]


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def fanout(server: Server, watchers: int, results: Results) -> None:
    """All watch one task. A round is one event; the next follows when all have been told."""
    [task_id] = await server.make_tasks(1)
    crowd = Crowd()
    joined = await crowd.join(server.port, server.path, server.watch, [task_id] * watchers, 50, STORM_SECONDS)
    if joined < watchers:
        raise RuntimeError(f"{server.name}: {joined} of {watchers} could subscribe")
    await asyncio.sleep(SETTLE_SECONDS)
    await told(server, crowd, task_id, watchers)
    latencies: list[float] = []
    with CpuMeter({"server": server.pid}) as meter:
        for _ in range(ROUNDS):
            latencies += await told(server, crowd, task_id, watchers)
    results.add(
        "fan-out: CPU per subscriber and event", server.name, meter.total / ROUNDS / watchers * 1e6, "us"
    )
    results.add(
        "fan-out, saturated: publish to client, p50", server.name, percentile(latencies, 0.5) * 1e3, "ms"
    )
    results.add(
        "fan-out, saturated: publish to client, p99", server.name, percentile(latencies, 0.99) * 1e3, "ms"
    )
    paced: list[float] = []
    for _ in range(PACED_ROUNDS):
        paced += await told(server, crowd, task_id, watchers)
        await asyncio.sleep(PACE_SECONDS)
    results.add("fan-out, paced: publish to client, p50", server.name, percentile(paced, 0.5) * 1e3, "ms")
    results.add("fan-out, paced: publish to client, p99", server.name, percentile(paced, 0.99) * 1e3, "ms")
    crowd.leave()


async def told(server: Server, crowd: Crowd, task_id: str, watchers: int) -> list[float]:
    """Publish one event; after how many seconds each watcher had it."""
    before = len(crowd.times)
    sent = time.perf_counter()
    await server.publish([task_id])
    if not await crowd.reached(before + watchers, ROUND_SECONDS):
        raise RuntimeError(f"{server.name}: {len(crowd.times) - before} of {watchers} were told of an event")
    return [at - sent for at in crowd.times[before:]]


async def storm(server: Server, count: int, results: Results) -> None:
    """Each watches a task of its own, all at once; then nothing happens, and then every task ends."""
    warm = Crowd()
    ids = await server.make_tasks(WARM_UP)
    await warm.join(server.port, server.path, server.watch, ids, WARM_UP, STORM_SECONDS)
    warm.leave()
    ids = await server.make_tasks(count)
    await asyncio.sleep(SETTLE_SECONDS)
    process = psutil.Process(server.pid)
    crowd, before = Crowd(), process.memory_info().rss
    with CpuMeter({"server": server.pid}) as meter:
        joined = await crowd.join(server.port, server.path, server.watch, ids, AT_ONCE, STORM_SECONDS)
    await asyncio.sleep(SETTLE_SECONDS)
    after = process.memory_info().rss
    await server.publish(ids, terminal=True)
    completed = await crowd.completed(ROUND_SECONDS * 3)
    crowd.leave()
    results.add("storm: connections", server.name, count, "")
    results.add("storm: stuck", server.name, count - joined, "")
    results.add("storm: terminal events missed", server.name, count - completed, "")
    results.add("storm: seconds until all have a first message", server.name, meter.seconds, "s")
    results.add("storm: CPU per connect and subscribe", server.name, meter.total / count * 1e6, "us")
    results.add("memory per idle subscription", server.name, (after - before) / count / 1024, "KiB")


async def commit(server: Ours, watchers: int, results: Results) -> None:
    """A worker reports progress; from the instant that the row bears to each client that was told."""
    await server.start_worker()
    pin(server.pids["worker"], CLIENT_CORE)
    work = {"countdown": {"steps": STEPS, "stepSeconds": STEP_SECONDS}}
    task_id = await server.deployment.create_id("Watched", work=work)
    crowd = Crowd()
    await crowd.join(server.port, server.path, server.watch, [task_id] * watchers, 100, STORM_SECONDS)
    offset = time.time() - time.perf_counter()
    known, crowd.messages = len(crowd.times), []
    completed = await crowd.completed(STEPS * STEP_SECONDS + ROUND_SECONDS)
    latencies = [
        at
        + offset
        - datetime.fromisoformat(
            orjson.loads(message)["payload"]["data"]["taskStatus"]["updatedAt"]
        ).timestamp()
        for at, message in zip(crowd.times[known:], crowd.messages, strict=True)
    ]
    crowd.leave()
    results.add("commit to client: events for each watcher", server.name, len(latencies) / watchers, "")
    results.add("commit to client, p50", server.name, percentile(latencies, 0.5) * 1e3, "ms")
    results.add("commit to client, p99", server.name, percentile(latencies, 0.99) * 1e3, "ms")
    results.add("commit to client: terminal events missed", server.name, watchers - completed, "")


async def polling(server: Ours, name: str, results: Results) -> None:
    """Clients ask for a task's status again and again."""
    ids = await server.make_tasks(POLLED)
    connection = await server.deployment.connect()
    backend = await connection.fetchval("SELECT pg_backend_pid()")
    postmaster = psutil.Process(backend).parent()
    assert postmaster is not None
    pollers = [Poller(server.port, server.path) for _ in range(POLLERS)]
    for poller in pollers:
        await poller.connect()

    async def ask(poller: Poller, count: int) -> None:
        for _ in range(count):
            answer = await poller.ask(READ, id=random.choice(ids))
            if b'"errors"' in answer or b'"status"' not in answer:
                raise RuntimeError(f"the API answered {answer[:300]!r}")

    count = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    await asyncio.gather(*(ask(poller, 50) for poller in pollers))
    await asyncio.sleep(STATISTICS_SECONDS)
    transactions = await connection.fetchval(count)
    sessions = {str(each.pid): each.pid for each in postmaster.children()}
    with CpuMeter(sessions) as database, CpuMeter({"server": server.pid}) as api:
        await asyncio.gather(*(ask(poller, READS // POLLERS) for poller in pollers))
    await asyncio.sleep(STATISTICS_SECONDS)
    transactions = await connection.fetchval(count) - transactions
    await connection.close()
    for poller in pollers:
        poller.close()
    results.add("polling: PostgreSQL transactions per read", name, transactions / READS, "")
    results.add("polling: PostgreSQL CPU per read", name, database.total / READS * 1e6, "us")
    results.add("polling: API CPU per read", name, api.total / READS * 1e6, "us")
    results.add("polling: reads per second", name, READS / api.seconds, "/s")


async def measure(options: argparse.Namespace, stack: DevStack, folder: Path, results: Results) -> None:
    def ours() -> Ours:
        return Ours(stack, folder)

    made: list[tuple[Made, int]] = [(ours, options.storm)]
    for name in options.peers:
        if (entrant := ENTRANTS.get(name)) is None:
            continue  # `none`
        if why := entrant.missing():
            results.note(f"{entrant.title} was left out: {why}.")
            continue
        most = STRAWBERRY_STORM if name == "strawberry" else options.storm
        made.append((partial(entrant.open, stack, folder), min(options.storm, most)))
    for number in range(options.repeats):
        print(f"round {number + 1} of {options.repeats}", file=sys.stderr, flush=True)
        for make, connections in made:
            if "fanout" in options.only:
                async with make() as server:
                    await attempt(results, fanout(server, options.watchers, results))
            if "storm" in options.only:
                async with make() as server:
                    await attempt(results, storm(server, connections, results))
        if "commit" in options.only:
            async with ours() as server:
                await attempt(results, commit(server, options.watchers, results))
        for cache in ("on", "off") if "polling" in options.only else ():
            async with Ours(stack, folder, {"TASKQL_STATUS_CACHE": cache}) as server:
                await attempt(results, polling(server, f"TaskQL, cache {cache}", results))


async def attempt(results: Results, measuring: Any) -> None:
    with results.surviving("A measurement"):
        await asyncio.wait_for(measuring, LIMIT_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser("python -m bench.live", description="Measure live status.")
    parser.add_argument("--watchers", type=int, default=1000, help="subscribers of one task (1000)")
    parser.add_argument("--storm", type=int, default=10_000, help="subscribers of a task each (10000)")
    parser.add_argument("--repeats", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument(
        "--only", default=",".join(PARTS), type=lambda text: text.split(","), help="which parts"
    )
    parser.add_argument("--peers", default="strawberry,yoga", type=lambda text: text.split(","))
    parser.add_argument("--output", type=Path, default=RESULTS, help="bench/results/live.md")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, most), most))
    results = Results()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with DevStack(data=folder, say=lambda _: None) as stack:
            pin(os.getpid(), CLIENT_CORE)
            uvloop.run(measure(options, stack, folder, results))
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(results.markdown(options.watchers, options.repeats))
    print(results.markdown(options.watchers, options.repeats))
    return 0


if __name__ == "__main__":
    sys.exit(main())
