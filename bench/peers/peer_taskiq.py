"""PEER C: taskiq + taskiq-aio-sqs, results in Redis.

    taskiq worker peer_taskiq:broker --workers 1
    python peer_taskiq.py enqueue SECONDS | run N | latency N
"""
import asyncio
import json
import os
import random
import sys
import time

from taskiq_aio_sqs import SQSBroker
from taskiq_redis import RedisAsyncResultBackend

WARM_UP = 100
broker = SQSBroker("taskiqq", endpoint_url=os.environ["SQS_ENDPOINT"], region_name="us-east-1",
                   aws_access_key_id="test", aws_secret_access_key="test",
                   max_number_of_messages=10, wait_time_seconds=10).with_result_backend(RedisAsyncResultBackend(os.environ["REDIS_URL"], result_ex_time=600))


@broker.task(task_name="noop")
async def noop(payload: dict) -> dict:
    return {"ok": True}


async def enqueue(seconds, conc=16):
    await asyncio.gather(*[noop.kiq({"a": 1}) for _ in range(WARM_UP)])
    n, end = 0, time.perf_counter() + seconds

    async def one():
        nonlocal n
        while time.perf_counter() < end:
            await noop.kiq({"a": 1})
            n += 1
    t, c = time.perf_counter(), time.process_time()
    await asyncio.gather(*[one() for _ in range(conc)])
    return {"ops": n, "per_s": round(n / (time.perf_counter() - t), 1), "client_us": round((time.process_time() - c) / n * 1e6)}


async def run(n):
    await (await noop.kiq({"a": 1})).wait_result(timeout=30)
    sem, handles = asyncio.Semaphore(16), []

    async def one():
        async with sem:
            handles.append(await noop.kiq({"a": 1}))
    t, c = time.perf_counter(), time.process_time()
    await asyncio.gather(*[one() for _ in range(n)])
    used = time.process_time() - c
    for h in handles:
        await h.wait_result(check_interval=0.02, timeout=60)
    return {"ops": n, "tasks_per_s": round(n / (time.perf_counter() - t), 1), "client_us": round(used / n * 1e6)}


async def latency(n):
    await (await noop.kiq({"a": 1})).wait_result(timeout=30)
    lat = []
    for _ in range(n):
        await asyncio.sleep(random.random() * 0.15)
        s = time.perf_counter()
        await (await noop.kiq({"a": 1})).wait_result(check_interval=0.01, timeout=30)
        lat.append(time.perf_counter() - s)
    lat.sort()
    return {"ops": n, "p50_ms": round(lat[len(lat) // 2] * 1e3, 1), "p99_ms": round(lat[int(len(lat) * .99)] * 1e3, 1)}


async def main():
    await broker.startup()
    what, amount = sys.argv[1:]
    modes = {"enqueue": enqueue, "run": run, "latency": latency}
    print(json.dumps(await modes[what]((float if what == "enqueue" else int)(amount))))
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
