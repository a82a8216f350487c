"""What the load generator measures with: an HTTP/1.1 client, CPU and memory of processes."""
from __future__ import annotations

import asyncio
import itertools
import json
import random
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
