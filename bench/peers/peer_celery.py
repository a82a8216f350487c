"""PEER B: Celery 5 on the SQS transport, results in Redis or PostgreSQL.

    celery -A peer_celery worker -P prefork -c 2
    python peer_celery.py enqueue SECONDS | run N       figures as a JSON line
"""
import json
import os
import random
import sys
import threading
import time

from celery import Celery

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
    n, end = [0] * threads, time.perf_counter() + seconds

    def one(i):
        while time.perf_counter() < end:
            noop.delay({"a": 1})
            n[i] += 1
    noop.delay({"a": 1})
    t, c = time.perf_counter(), time.process_time()
    ts = [threading.Thread(target=one, args=(i,)) for i in range(threads)]
    [x.start() for x in ts]
    [x.join() for x in ts]
    dt = time.perf_counter() - t
    return {"per_s": round(sum(n) / dt, 1), "client_us": round((time.process_time() - c) / sum(n) * 1e6), "ops": sum(n)}


def run(n, lat_n=40, deadline=60):
    noop.delay({"a": 1}).get(timeout=30)
    t = time.perf_counter()
    rs = [noop.delay({"a": 1}) for _ in range(n)]
    t1 = time.perf_counter()
    for r in rs:
        r.get(timeout=deadline, interval=0.02)
    t2 = time.perf_counter()
    lat = []
    for _ in range(lat_n):
        time.sleep(random.random() * 0.15)
        s = time.perf_counter()
        noop.delay({"a": 1}).get(timeout=30, interval=0.02)
        lat.append(time.perf_counter() - s)
    lat.sort()
    return {"ops": n + lat_n, "tasks_per_s": round(n / (t2 - t), 1), "enqueue_s": round(t1 - t, 2),
            "p50_ms": round(lat[len(lat) // 2] * 1e3, 1), "p99_ms": round(lat[int(len(lat) * .99)] * 1e3, 1)}


if __name__ == "__main__":
    if sys.argv[1] == "enqueue":
        print(json.dumps(enqueue(float(sys.argv[2]))))
    else:
        print(json.dumps(run(int(sys.argv[2]))))
