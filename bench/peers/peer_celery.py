"""PEER B: Celery 5 on the SQS transport, results in Redis or PostgreSQL.

    celery -A peer_celery worker -P prefork -c 2
    python peer_celery.py enqueue SECONDS | run N | latency N       figures as a JSON line
"""
import json
import os
import random
import sys
import threading
import time

from celery import Celery

WARM_UP = 100
backend = os.environ.get("CELERY_BACKEND", "redis")
app = Celery("peer", broker=os.environ["SQS_ENDPOINT"].replace("http://", "sqs://test:test@"),
             backend=os.environ["REDIS_URL"].replace("unix://", "redis+socket://") if backend == "redis"
             else os.environ["PG_DSN"].replace("postgresql://", "db+postgresql+psycopg://"))
app.conf.update(
    task_default_queue="celeryq", worker_hijack_root_logger=False, broker_connection_retry_on_startup=True,
    worker_enable_remote_control=False, task_acks_late=True,
    broker_transport_options={
        "region": "us-east-1", "is_secure": False, "wait_time_seconds": 10, "polling_interval": 0.0,
        "predefined_queues": {"celeryq": {"url": os.environ["SQS_ENDPOINT"] + "/000000000000/celeryq",
                                          "access_key_id": "test", "secret_access_key": "test"}}})


@app.task(name="noop")
def noop(payload):
    return {"ok": True}


def enqueue(seconds, threads=1):
    n = [0] * threads
    for _ in range(WARM_UP):
        noop.delay({"a": 1})
    end = time.perf_counter() + seconds

    def one(i):
        while time.perf_counter() < end:
            noop.delay({"a": 1})
            n[i] += 1
    t, c = time.perf_counter(), time.process_time()
    ts = [threading.Thread(target=one, args=(i,)) for i in range(threads)]
    [x.start() for x in ts]
    [x.join() for x in ts]
    dt = time.perf_counter() - t
    return {"per_s": round(sum(n) / dt, 1), "client_us": round((time.process_time() - c) / sum(n) * 1e6), "ops": sum(n)}


def run(n, deadline=60):
    noop.delay({"a": 1}).get(timeout=30)
    t, c = time.perf_counter(), time.process_time()
    rs = [noop.delay({"a": 1}) for _ in range(n)]
    used = time.process_time() - c
    for r in rs:
        r.get(timeout=deadline, interval=0.02)
    return {"ops": n, "tasks_per_s": round(n / (time.perf_counter() - t), 1), "client_us": round(used / n * 1e6)}


def latency(n):
    noop.delay({"a": 1}).get(timeout=30)
    lat = []
    for _ in range(n):
        time.sleep(random.random() * 0.15)
        s = time.perf_counter()
        noop.delay({"a": 1}).get(timeout=30, interval=0.02)
        lat.append(time.perf_counter() - s)
    lat.sort()
    return {"ops": n, "p50_ms": round(lat[len(lat) // 2] * 1e3, 1), "p99_ms": round(lat[int(len(lat) * .99)] * 1e3, 1)}


if __name__ == "__main__":
    what, amount = sys.argv[1:]
    print(json.dumps({"enqueue": enqueue, "run": run, "latency": latency}[what]((float if what == "enqueue" else int)(amount))))
