#!/usr/bin/env python
"""Load generator for a task service: GraphQL (or REST) over HTTP, and
subscriptions over the graphql-transport-ws protocol. One process, one line of
JSON per run on stdout. It knows nothing of any one service: a *profile* (JSON)
says where it is and which documents it takes.

Profile keys (`--profile FILE_OR_JSON`, each also settable as `--set key=JSON`):

  url           http://127.0.0.1:8000/graphql
  ws            ws://127.0.0.1:8000/graphql
  headers       {"authorization": "..."}          extra HTTP headers
  init          {}                                connection_init payload
  create        {"query": "mutation($input: ...", "variables": {"input": {"name": "n{n}"}}}
                or, for REST, {"method": "POST", "path": "/tasks", "json": {"name": "n{n}"}}
  create_id     "data.createTask.id"              where the new id is in the answer
  task          {"query": "query($id: ID!) ...", "variables": {"id": "{id}"}}
                or {"method": "GET", "path": "/tasks/{id}"}
  task_status   "data.task.status"
  sub           {"query": "subscription($id: ID!) ...", "variables": {"id": "{id}"}}
  sub_status    "data.taskStatus.status"
  sub_initial   1        messages a subscription sends by itself when it starts
  done          ["COMPLETED"]
  dsn, count    PostgreSQL DSN and a SQL that counts finished tasks (for e2e)
  redis, channel, message    for fanout: what to PUBLISH to make one update of
                             task {id}; {id} {seq} {now} are filled in

In every string {n} is a fresh unique number and {id} the task's id.

Modes:
  ops      closed loop of `create` or `task` on --conns keep-alive connections
  e2e      create --n tasks on --conns connections, wait till `count` grew by n
  latency  --conns users: create, then watch by `sub` or by `poll` every
           --poll-ms until done: time from sending create to seeing done
  fanout   --subs subscriptions (one WebSocket each, or --per-conn) on --tasks
           tasks; rounds of one PUBLISH per task, each delivered to all before
           the next (or --rate publishes/s on random tasks, for latency
           below saturation)
"""
from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import sys
import time
from urllib.parse import urlsplit

import httptools
import orjson
import psutil

now = time.perf_counter


def pct(xs, p):
    if not xs:
        return None
    xs = sorted(xs)
    return xs[min(len(xs) - 1, int(len(xs) * p))]


def ms(x):
    return None if x is None else round(x * 1000, 3)


def raise_nofile():
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536
    if soft < want:
        resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))


def dig(obj, path):
    for k in path.split("."):
        obj = obj[k]
    return obj


# ------------------------------------------------------------------ HTTP/1.1
class Conn(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self):
        self.fut = None
        self.body = []
        self.parser = None

    def connection_made(self, tr):
        self.tr = tr
        self.parser = httptools.HttpResponseParser(self)

    def data_received(self, data):
        self.parser.feed_data(data)

    def on_body(self, b):
        self.body.append(b)

    def on_message_complete(self):
        f, self.fut = self.fut, None
        status, body = self.parser.get_status_code(), b"".join(self.body)
        self.body = []
        self.parser = httptools.HttpResponseParser(self)
        if f and not f.done():
            f.set_result((status, body))

    def connection_lost(self, exc):
        if self.fut and not self.fut.done():
            self.fut.set_exception(exc or ConnectionResetError())

    def request(self, raw: bytes):
        self.fut = asyncio.get_running_loop().create_future()
        self.tr.write(raw)
        return self.fut


class Http:
    def __init__(self, prof):
        self.p = prof
        u = urlsplit(prof["url"])
        self.host, self.port, self.path = u.hostname, u.port or 80, u.path or "/"
        self.extra = "".join(f"{k}: {v}\r\n" for k, v in prof.get("headers", {}).items())
        self.seq = itertools.count(random.randrange(10**6) * 10**6)

    async def conns(self, n):
        loop = asyncio.get_running_loop()
        return [(await loop.create_connection(Conn, self.host, self.port))[1] for _ in range(n)]

    def template(self, op):
        """A function (n, id) -> bytes of one whole request."""
        spec = self.p[op]
        if "query" in spec:
            method, path = "POST", self.path
            body = json.dumps({"query": spec["query"], "variables": spec.get("variables", {})})
        else:
            method, path = spec["method"], spec["path"]
            body = json.dumps(spec["json"]) if "json" in spec else spec.get("body", "")
        head = (f"{method} %s HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
                f"Accept: application/json\r\n{self.extra}")
        if body and "content-type" not in self.extra.lower():
            head += "Content-Type: application/json\r\n"

        def make(n="", id=""):
            b = body.replace("{n}", str(n)).replace("{id}", id).encode()
            p = path.replace("{id}", id)
            length = f"Content-Length: {len(b)}\r\n" if b else ""
            return (head % p + length + "\r\n").encode() + b

        return make


def bad(status, body):
    return status != 200 and status != 201 and status != 202 or b'"errors"' in body


# ------------------------------------------------------------------ CPU of others
def cpu_all(pids):
    out = {}
    for name, pid in pids.items():
        t = 0.0
        try:
            ps = psutil.Process(pid)
            for q in [ps, *ps.children(recursive=True)]:
                try:
                    t += sum(q.cpu_times()[:4])      # with the children it has reaped
                except psutil.Error:
                    pass
        except psutil.Error:
            pass
        out[name] = t
    return out


def rss_all(pids):
    out = {}
    for name, pid in pids.items():
        try:
            ps = psutil.Process(pid)
            out[name] = sum(q.memory_info().rss for q in [ps, *ps.children(recursive=True)])
        except psutil.Error:
            pass
    return out


class Meter:
    """CPU microseconds per operation, of the named processes and of this one."""

    def __init__(self, pids):
        self.pids = pids

    def start(self):
        self.c, self.own, self.t = cpu_all(self.pids), time.process_time(), now()

    def stop(self, ops):
        dt, own, c = now() - self.t, time.process_time() - self.own, cpu_all(self.pids)
        ops = max(ops, 1)
        return {"seconds": round(dt, 3),
                "cpu_us_per_op": {k: round((c[k] - self.c[k]) / ops * 1e6, 1) for k in c},
                "cpu_busy": {**{k: round((c[k] - self.c[k]) / dt, 3) for k in c},
                             "loadgen": round(own / dt, 3)}}


# ------------------------------------------------------------------ modes
async def ops(a, prof, meter):
    http = Http(prof)
    make, seq = http.template(a.op), http.seq
    ids = a.ids.split(",") if a.ids else [""]
    if a.op == "task" and not a.ids:
        ids = await seed_ids(http, a.seed_tasks)
    conns = await http.conns(a.conns)
    lat, errors, sample = [], 0, ""
    stop_at, measuring = now() + a.warmup, False

    async def user(c):
        nonlocal errors, sample
        while now() < stop_at:
            raw = make(next(seq), random.choice(ids))
            t = now()
            status, body = await c.request(raw)
            if bad(status, body):
                errors += 1
                sample = body[:300].decode("utf8", "replace")
            elif measuring:
                lat.append(now() - t)

    await asyncio.gather(*[user(c) for c in conns])
    measuring, errors = True, 0
    stop_at = now() + a.seconds
    meter.start()
    await asyncio.gather(*[user(c) for c in conns])
    m = meter.stop(len(lat))
    return {"ops": len(lat), "per_s": round(len(lat) / m["seconds"], 1), "p50_ms": ms(pct(lat, .5)),
            "p99_ms": ms(pct(lat, .99)), "errors": errors, **({"error": sample} if errors else {}), **m}


async def seed_ids(http, n):
    make = http.template("create")
    conns = await http.conns(8)
    ids = []

    async def user(c):
        while len(ids) < n:
            status, body = await c.request(make(next(http.seq)))
            if bad(status, body):
                raise SystemExit(f"create failed: {status} {body[:400]!r}")
            ids.append(str(dig(orjson.loads(body), http.p["create_id"])))

    await asyncio.gather(*[user(c) for c in conns])
    for c in conns:
        c.tr.close()
    return ids[:n]


async def e2e(a, prof, meter):
    import asyncpg

    http = Http(prof)
    make = http.template("create")
    conns = await http.conns(a.conns)
    db = await asyncpg.connect(prof["dsn"])
    base = await db.fetchval(prof["count"])
    left, errors = a.n, 0

    async def user(c):
        nonlocal left, errors
        while left > 0:
            left -= 1
            status, body = await c.request(make(next(http.seq)))
            errors += bad(status, body)

    meter.start()
    t0 = now()
    await asyncio.gather(*[user(c) for c in conns])
    t1 = now()
    done, limit = 0, now() + a.limit
    while done < a.n - errors and now() < limit:
        await asyncio.sleep(0.02)
        done = await db.fetchval(prof["count"]) - base
    t2 = now()
    m = meter.stop(a.n)
    await db.close()
    return {"n": a.n, "done": done, "errors": errors, "create_per_s": round(a.n / (t1 - t0), 1),
            "tasks_per_s": round(done / (t2 - t0), 1), **m}


# ------------------------------------------------------------------ WebSocket
def ws_listener(on_msg):
    import picows

    class L(picows.WSListener):
        def __init__(self):
            self.ready = asyncio.get_running_loop().create_future()
            self.closed = False

        def on_ws_connected(self, tr):
            self.tr = tr
            if not self.ready.done():
                self.ready.set_result(None)

        def on_ws_frame(self, tr, frame):
            if frame.msg_type == picows.WSMsgType.TEXT:
                on_msg(self, frame.get_payload_as_bytes())

        def on_ws_disconnected(self, tr):
            self.closed = True

        def say(self, obj):
            self.tr.send(picows.WSMsgType.TEXT, orjson.dumps(obj))

    return L


async def ws_open(prof, on_msg):
    import picows

    acked = asyncio.get_running_loop().create_future()

    def first(l, b):
        if not acked.done():
            acked.set_result(b)
        else:
            on_msg(l, b)

    _, l = await picows.ws_connect(ws_listener(first), prof["ws"], websocket_handshake_timeout=30,
                                   extra_headers={"Sec-WebSocket-Protocol": "graphql-transport-ws",
                                                  **prof.get("headers", {})})
    l.say({"type": "connection_init", "payload": prof.get("init", {})})
    ack = await asyncio.wait_for(acked, 30)
    assert b"connection_ack" in ack, ack
    return l


def fill(x, **kw):
    if isinstance(x, str):
        for k, v in kw.items():
            x = x.replace("{" + k + "}", str(v))
        return x
    if isinstance(x, dict):
        return {k: fill(v, **kw) for k, v in x.items()}
    if isinstance(x, list):
        return [fill(v, **kw) for v in x]
    return x


async def latency(a, prof, meter):
    http = Http(prof)
    make = http.template("create")
    lat, lost = [], 0
    stop_at = now() + a.seconds
    done = [d.upper() for d in prof["done"]]
    conns = await http.conns(a.conns)

    async def by_poll(c):
        look = http.template("task")
        while now() < stop_at:
            t = now()
            status, body = await c.request(make(next(http.seq)))
            if bad(status, body):
                raise SystemExit(f"create failed: {status} {body[:400]!r}")
            tid = str(dig(orjson.loads(body), prof["create_id"]))
            while True:
                await asyncio.sleep(a.poll_ms / 1000)
                status, body = await c.request(look(id=tid))
                if str(dig(orjson.loads(body), prof["task_status"])).upper() in done:
                    break
                if now() - t > 20:
                    raise SystemExit("a task never completed")
            lat.append(now() - t)

    async def by_sub(c):
        nonlocal lost
        box = {}

        def on_msg(l, b):
            m = orjson.loads(b)
            if m["type"] == "next" and m["id"] in box:
                if str(dig(m["payload"], prof["sub_status"])).upper() in done:
                    f = box.pop(m["id"])
                    if not f.done():
                        f.set_result(now())
            elif m["type"] == "ping":
                l.say({"type": "pong"})
            elif m["type"] == "error":
                print("error:", b[:300], file=sys.stderr)

        l = await ws_open(prof, on_msg)
        sub = prof["sub"]
        while now() < stop_at:
            t = now()
            status, body = await c.request(make(next(http.seq)))
            if bad(status, body):
                raise SystemExit(f"create failed: {status} {body[:400]!r}")
            tid = str(dig(orjson.loads(body), prof["create_id"]))
            sid = "s%d" % next(http.seq)
            box[sid] = f = asyncio.get_running_loop().create_future()
            l.say({"id": sid, "type": "subscribe", "payload": {
                "query": sub["query"], "variables": fill(sub.get("variables", {}), id=tid)}})
            try:
                lat.append(await asyncio.wait_for(f, 8) - t)
            except asyncio.TimeoutError:
                lost += 1
                box.pop(sid, None)
            l.say({"id": sid, "type": "complete"})
        l.tr.disconnect()

    meter.start()
    await asyncio.gather(*[(by_sub if a.watch == "sub" else by_poll)(c) for c in conns])
    m = meter.stop(len(lat))
    return {"tasks": len(lat), "lost": lost, "per_s": round(len(lat) / m["seconds"], 1),
            "p50_ms": ms(pct(lat, .5)), "p99_ms": ms(pct(lat, .99)), "max_ms": ms(max(lat, default=None)), **m}


async def fanout(a, prof, meter):
    import redis.asyncio as aioredis

    http = Http(prof)
    ids = a.ids.split(",") if a.ids else await seed_ids(http, a.tasks)
    if a.settle:
        await asyncio.sleep(a.settle)
    rds = aioredis.Redis.from_url(prof["redis"])
    pub_t = {i: 0.0 for i in ids}
    lat, got, per_sub, waiting = [], 0, {}, None
    measuring = False
    task_of = {}

    def on_msg(l, b):
        nonlocal got
        t = now()
        if b'"next"' not in b:
            if b'"ping"' in b:
                l.say({"type": "pong"})
            elif b'"error"' in b:
                print("error:", b[:300], file=sys.stderr)
            return
        if a.per_conn > 1:
            sid = orjson.loads(b)["id"]
        else:
            sid = l.sid
        got += 1
        per_sub[sid] = per_sub.get(sid, 0) + 1
        if measuring:
            lat.append(t - pub_t[task_of[sid]])
        if waiting is not None and got >= waiting[0] and not waiting[1].done():
            waiting[1].set_result(None)

    async def reach(n, seconds):
        nonlocal waiting
        if got >= n:
            return True
        waiting = (n, asyncio.get_running_loop().create_future())
        try:
            await asyncio.wait_for(waiting[1], seconds)
            return True
        except asyncio.TimeoutError:
            return False
        finally:
            waiting = None

    rss0 = rss_all(meter.pids)
    n_conn = (a.subs + a.per_conn - 1) // a.per_conn
    t = now()
    socks = []
    for i in range(0, n_conn, 25):
        socks += await asyncio.gather(*[ws_open(prof, on_msg) for _ in range(min(25, n_conn - i))])
    t_conn = now() - t
    await asyncio.sleep(0.5)
    rss1 = rss_all(meter.pids)
    sub = prof["sub"]
    t = now()
    init = prof.get("sub_initial", 1)
    for k in range(a.subs):
        l = socks[k // a.per_conn]
        sid = f"s{k}"
        l.sid = sid
        tid = ids[k % len(ids)]
        task_of[sid] = tid
        l.say({"id": sid, "type": "subscribe", "payload": {
            "query": sub["query"], "variables": fill(sub.get("variables", {}), id=tid)}})
        if k % 25 == 24:
            await reach((k + 1) * init, 30)
    ok = await reach(a.subs * init, 30)
    if not init:
        await asyncio.sleep(2)
    t_sub = now() - t
    await asyncio.sleep(1)
    rss2 = rss_all(meter.pids)
    if not ok:
        print(f"only {got} of {a.subs * init} initial messages", file=sys.stderr)
    chan, msg, seq = prof["channel"], prof["message"], itertools.count(1)
    order = list(ids)
    lost = rounds = 0

    async def publish(batch):
        p = rds.pipeline(transaction=False)
        for i in batch:
            p.publish(fill(chan, id=i), fill(msg, id=i, seq=next(seq), now=time.time()))
        t = now()
        for i in batch:
            pub_t[i] = t
        await p.execute()

    # warm up: one round
    g = got
    await publish(order)
    await reach(g + a.subs, 30)
    await asyncio.sleep(0.2)
    measuring, start = True, got
    meter.start()
    end = now() + a.seconds
    if a.rate:
        step, due = 1 / a.rate, now()
        while now() < end:
            await publish([random.choice(order)])
            due += step
            await asyncio.sleep(max(0, due - now()))
            rounds += 1
        await asyncio.sleep(0.5)
        lost = rounds * (a.subs // len(ids)) - (got - start)
    else:
        while now() < end:
            g = got
            await publish(order)
            if not await reach(g + a.subs, 6):
                lost += g + a.subs - got
                break
            rounds += 1
    m = meter.stop(got - start)
    n = got - start
    for l in socks:
        l.tr.disconnect()
    await rds.aclose()
    kb = lambda x, y: {k: round((y[k] - x[k]) / 1024 / a.subs, 1) for k in x if k in y}  # noqa: E731
    return {"subs": a.subs, "tasks": len(ids), "conns": n_conn, "rounds": rounds, "messages": n,
            "lost": lost, "msgs_per_s": round(n / m["seconds"], 1), "p50_ms": ms(pct(lat, .5)),
            "p99_ms": ms(pct(lat, .99)), "connect_s": round(t_conn, 2), "subscribe_s": round(t_sub, 2),
            "kb_per_conn": kb(rss0, rss1), "kb_per_sub": kb(rss0, rss2), **m}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("mode", choices=["ops", "e2e", "latency", "fanout"])
    ap.add_argument("--profile", default="{}", help="a JSON file, or JSON itself")
    ap.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    ap.add_argument("--op", choices=["create", "task"], default="create")
    ap.add_argument("--conns", type=int, default=64)
    ap.add_argument("--seconds", type=float, default=8)
    ap.add_argument("--warmup", type=float, default=1)
    ap.add_argument("--n", type=int, default=1000, help="e2e: tasks")
    ap.add_argument("--limit", type=float, default=40, help="e2e: give up after so many seconds")
    ap.add_argument("--watch", choices=["sub", "poll"], default="sub")
    ap.add_argument("--poll-ms", type=float, default=100)
    ap.add_argument("--subs", type=int, default=1000)
    ap.add_argument("--tasks", type=int, default=1, help="fanout: tasks the subscriptions are spread on")
    ap.add_argument("--per-conn", type=int, default=1, help="fanout: subscriptions on one WebSocket")
    ap.add_argument("--rate", type=float, default=0, help="fanout: publishes/s instead of rounds")
    ap.add_argument("--ids", default="", help="use these task ids, create none")
    ap.add_argument("--seed-tasks", type=int, default=200, help="ops --op task: tasks to create first")
    ap.add_argument("--settle", type=float, default=0, help="fanout: wait after creating the tasks")
    ap.add_argument("--pids", default="", help="name=pid,...: report CPU and memory of these (with children)")
    ap.add_argument("--core", type=int, default=-1, help="pin this process to a core")
    a = ap.parse_args()
    if a.core >= 0:
        os.sched_setaffinity(0, {a.core})
    prof = json.load(open(a.profile)) if os.path.exists(a.profile) else json.loads(a.profile)
    for kv in a.set:
        k, _, v = kv.partition("=")
        try:
            prof[k] = json.loads(v)
        except json.JSONDecodeError:
            prof[k] = v
    pids = {k: int(v) for k, v in (x.split("=") for x in a.pids.split(",") if x)}
    import uvloop

    raise_nofile()
    fn = {"ops": ops, "e2e": e2e, "latency": latency, "fanout": fanout}[a.mode]
    print(json.dumps(uvloop.run(fn(a, prof, Meter(pids)))))


if __name__ == "__main__":
    main()
