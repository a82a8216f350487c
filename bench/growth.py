"""How the figures fare as there is more of everything: tasks that wait, tasks that are over, watchers, bytes.

Invariant: rows are put in as TaskQL itself leaves them, dispatch rows and outcomes included.
"""

import argparse
from datetime import UTC, datetime
from typing import Any

from bench.ours import OWNER_WITHOUT, Ours
from bench.page import Book
from bench.parts import USERS
from bench.session import Session
from bench.table import Results

WAITING, FINISHED = (0, 10_000, 1_000_000), (10_000_000,)
WATCHERS = (1, 10, 100, 1_000, 10_000)
PAYLOAD_KIBIBYTES = (1, 16, 256)
TASKS, PAYLOAD_TASKS = 1000, 200
ROOM_BYTES = 200
"""Of a payload's JSON that is not its text."""
FILL_ROWS = 250_000
"""In one transaction."""
PAGE = (
    "query Page { tasks(first: 50) { edges { cursor node { id title status createdAt } } "
    "pageInfo { hasNextPage endCursor } } }"
)
CREATE_REVERSE = (
    "mutation Create($input: CreateTaskInput!) { createTask(input: $input) "
    "{ task { id } userErrors { message } } }"
)

# Sent to a queue on which nothing is delivered, and so never lost: the emulator could not hold so many.
FILL_WAITING = f"""
WITH made AS (
    INSERT INTO tasks (owner, kind, title, input, max_attempts, created_at, updated_at)
    SELECT '{OWNER_WITHOUT}', 'process', 'Waiting ' || n, '{{}}', 3, at, at
    FROM generate_series($1::bigint, $2::bigint) n, LATERAL (SELECT now() - n * interval '1 ms' AS at) times
    RETURNING id
)
INSERT INTO dispatch (task_id, queue, sent_at, sends)
SELECT id, 'low', now() + interval '1 day', 1 FROM made
"""
FILL_FINISHED = f"""
INSERT INTO tasks (owner, kind, title, input, max_attempts, status, outcome, version, attempt, attempts,
                   result, created_at, updated_at, started_at, finished_at)
SELECT '{OWNER_WITHOUT}', 'process', 'Finished ' || n, '{{}}', 3, 'COMPLETED', 'COMPLETED', 3, 1,
       jsonb_build_array(jsonb_build_object(
           'number', 1, 'started_at', at, 'finished_at', at, 'outcome', 'COMPLETED')),
       '{{"message": "Processed"}}', at, at, at, at
FROM generate_series($1::bigint, $2::bigint) n, LATERAL (SELECT now() - n * interval '100 ms' AS at) times
"""
FILLS = {"waiting": FILL_WAITING, "finished": FILL_FINISHED}


async def growth(session: Session, options: argparse.Namespace, book: Book) -> None:
    rows = book.section("Growth: tasks that are there already")
    rows.note("CPU is that of all processes together, services included.")
    sizes = [("waiting", count) for count in options.waiting]
    for state, count in [*sizes, *(("finished", count) for count in options.finished)]:
        case = f"{count:,} {state}"
        with rows.surviving(case):
            async with Ours(session.stack, session.folder) as ours:
                await fill(ours, FILLS[state], session.many(count) if count else 0)
                await among_rows(session, ours, case, options.repeats, rows)
    watchers = book.section("Growth: watchers of one task")
    for _ in range(options.repeats):
        for count in WATCHERS:
            with watchers.surviving(f"{count:,} watchers"):
                await watched(session, session.many(count), f"{count:,} watchers", watchers)
    payloads = book.section("Growth: payloads")
    payloads.note("The kind is `reverse`: its result is as large as its input. Above 64 KiB, it goes to S3.")
    for _ in range(options.repeats):
        for size in PAYLOAD_KIBIBYTES:
            with payloads.surviving(f"{size} KiB"):
                await loaded(session, size * 1024, f"{size} KiB", payloads)


async def fill(ours: Ours, statement: str, count: int) -> None:
    connection = await ours.deployment.connect()
    for start in range(1, count + 1, FILL_ROWS):
        await connection.execute(statement, start, min(count, start + FILL_ROWS - 1), timeout=600)
    await connection.execute("VACUUM (ANALYZE) tasks", timeout=1800)
    await connection.execute("VACUUM (ANALYZE) dispatch", timeout=600)
    await connection.execute("CHECKPOINT", timeout=600)
    await connection.close()


async def among_rows(session: Session, ours: Ours, case: str, repeats: int, results: Results) -> None:
    """Those that leave a backlog behind come last."""
    await ours.start_worker()
    for _ in range(repeats):
        found = await end_to_end(session, ours, TASKS)
        results.add("end to end", case, found["tasks_per_s"], "tasks/s")
        results.add("CPU of end to end", case, sum(found["cpu_us_per_op"].values()), "us")
        found = await session.load(ours, "latency", "--conns", USERS, "--seconds", session.seconds)
        results.add("created to seen completed, p50", case, found["p50_ms"], "ms")
        results.add("created to seen completed, p99", case, found["p99_ms"], "ms")
    await ours.stop_worker()
    for figure, arguments, changes in (
        ("a page of 50", ("--op", "task", "--ids", "none"), {"task": {"query": PAGE}}),
        ("read one task", ("--op", "task"), {}),
        ("createTask", ("--op", "create"), {}),
    ):
        for _ in range(repeats):
            found = await session.load(ours, "ops", *arguments, "--seconds", session.seconds, **changes)
            results.add(figure, case, found["per_s"], "/s")
            results.add(f"CPU of {figure}", case, sum(found["cpu_us_per_op"].values()), "us")


async def end_to_end(session: Session, ours: Ours, tasks: int, **changes: Any) -> dict[str, Any]:
    """What is over is counted by an index: counting all rows would cost more than the tasks."""
    since = datetime.now(UTC).isoformat()
    count = (
        f"SELECT count(*) FROM tasks WHERE owner = '{OWNER_WITHOUT}' AND finished_at > '{since}' "
        "AND outcome = 'COMPLETED'"
    )
    number = session.many(tasks)
    return await session.load(ours, "e2e", "--n", number, "--warm-n", number // 4, **changes, count=count)


async def watched(session: Session, count: int, case: str, results: Results) -> None:
    async with Ours(session.stack, session.folder) as ours:
        arguments = ("--subs", count, "--tasks", 1, "--seconds", session.seconds)
        found = await session.load(ours, "fanout", *arguments)
    results.add("messages", case, found["msgs_per_s"], "/s")
    results.add("publish to client, p50", case, found["p50_ms"], "ms")
    results.add("publish to client, p99", case, found["p99_ms"], "ms")
    results.add("API's CPU a message", case, found["cpu_us_per_op"]["server"], "us")


async def loaded(session: Session, size: int, case: str, results: Results) -> None:
    text = "x" * max(1, size - ROOM_BYTES)
    create = {
        "query": CREATE_REVERSE,
        "variables": {"input": {"title": "noop {n}", "work": {"reverse": {"inputData": text}}}},
    }
    async with Ours(session.stack, session.folder) as ours:
        await ours.start_worker()
        found = await end_to_end(session, ours, PAYLOAD_TASKS, create=create)
        results.add("end to end", case, found["tasks_per_s"], "tasks/s")
        await ours.stop_worker()
        found = await session.load(ours, "ops", "--op", "create", "--seconds", session.seconds, create=create)
        results.add("createTask", case, found["per_s"], "/s")
        results.add("API's CPU", case, found["cpu_us_per_op"]["server"], "us")
