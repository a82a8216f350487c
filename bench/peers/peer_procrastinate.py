"""PEER D: procrastinate, a task queue that lives in PostgreSQL (no SQS).

    procrastinate --app=peer_procrastinate.app worker --concurrency 32
    python peer_procrastinate.py enqueue SECONDS | run N | latency N
"""
import asyncio
import json
import os
import random
import sys
import time

import procrastinate

WARM_UP = 100
app = procrastinate.App(connector=procrastinate.PsycopgConnector(
    conninfo=os.environ["PG_DSN"], min_size=2, max_size=20))


@app.task(name="noop", queue="q")
async def noop(payload: dict):
    return None


async def enqueue(seconds, conc=16):
    await asyncio.gather(*[noop.defer_async(payload={"a": 1}) for _ in range(WARM_UP)])
    n, end = 0, time.perf_counter() + seconds

    async def one():
        nonlocal n
        while time.perf_counter() < end:
            await noop.defer_async(payload={"a": 1})
            n += 1
    t, c = time.perf_counter(), time.process_time()
    await asyncio.gather(*[one() for _ in range(conc)])
    r = {"ops": n, "per_s": round(n / (time.perf_counter() - t), 1), "client_us": round((time.process_time() - c) / n * 1e6)}
    return r


async def finished(db):
    return await db.fetchval("SELECT count(*) FROM procrastinate_jobs WHERE status='succeeded'")


async def ready():
    """A connection, once the worker works."""
    import asyncpg

    db = await asyncpg.connect(os.environ["PG_DSN"])
    await noop.defer_async(payload={"a": 1})
    while await db.fetchval("SELECT count(*) FROM procrastinate_jobs WHERE status<>'succeeded'"):
        await asyncio.sleep(0.02)
    return db


async def run(n):
    db = await ready()
    base = await finished(db)
    sem = asyncio.Semaphore(16)

    async def one():
        async with sem:
            await noop.defer_async(payload={"a": 1})
    t, c = time.perf_counter(), time.process_time()
    await asyncio.gather(*[one() for _ in range(n)])
    used = time.process_time() - c
    while await finished(db) - base < n:
        await asyncio.sleep(0.02)
    t2 = time.perf_counter()
    await db.close()
    return {"ops": n, "tasks_per_s": round(n / (t2 - t), 1), "client_us": round(used / n * 1e6)}


async def latency(n):
    db = await ready()
    lat = []
    for _ in range(n):
        await asyncio.sleep(random.random() * 0.15)
        s = time.perf_counter()
        j = await noop.defer_async(payload={"a": 1})
        while await db.fetchval("SELECT status='succeeded' FROM procrastinate_jobs WHERE id=$1", j) is not True:
            await asyncio.sleep(0.003)
        lat.append(time.perf_counter() - s)
    lat.sort()
    await db.close()
    return {"ops": n, "p50_ms": round(lat[len(lat) // 2] * 1e3, 1), "p99_ms": round(lat[int(len(lat) * .99)] * 1e3, 1)}


async def main():
    async with app.open_async():
        what, amount = sys.argv[1:]
        modes = {"enqueue": enqueue, "run": run, "latency": latency}
        print(json.dumps(await modes[what]((float if what == "enqueue" else int)(amount))))


if __name__ == "__main__":
    asyncio.run(main())
