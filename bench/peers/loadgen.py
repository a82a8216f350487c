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
import json
import os
import random
import sys

import orjson

from load_fanout import fanout
from load_http import Http, Meter, bad, dig, ms, now, pct, raise_nofile, seed_ids
from load_ws import fill, ws_open


# ------------------------------------------------------------------ modes
async def ops(a, prof, meter):
    http = Http(prof)
    make, seq = http.template(a.op), http.seq
    ids = a.ids.split(",") if a.ids else [""]
    if a.op == "task" and not a.ids:
        ids = await seed_ids(http, a.seed_tasks)
    conns = await http.conns(a.conns)
    lat, errors, sample = [], 0, ""

    async def loop(seconds):
        stop_at = now() + seconds
        lat.clear()
        await asyncio.gather(*[user(c, stop_at) for c in conns])
        return len(lat)

    async def user(c, stop_at):
        nonlocal errors, sample
        while now() < stop_at:
            raw = make(next(seq), random.choice(ids))
            t = now()
            status, body = await c.request(raw)
            if bad(status, body):
                errors += 1
                sample = body[:300].decode("utf8", "replace")
            else:
                lat.append(now() - t)

    await loop(a.warmup)
    errors = 0
    meter.start()
    m = meter.stop(await loop(a.seconds))
    return {"ops": len(lat), "per_s": round(len(lat) / m["seconds"], 1), "p50_ms": ms(pct(lat, .5)),
            "p99_ms": ms(pct(lat, .99)), "errors": errors, **({"error": sample} if errors else {}), **m}


async def e2e(a, prof, meter):
    import asyncpg

    http = Http(prof)
    make = http.template("create")
    conns = await http.conns(a.conns)
    db = await asyncpg.connect(prof["dsn"])

    async def through(n):
        """Create so many and wait for them: (done, errors, seconds to create, seconds in all)."""
        base = await db.fetchval(prof["count"])
        left, errors = n, 0

        async def user(c):
            nonlocal left, errors
            while left > 0:
                left -= 1
                status, body = await c.request(make(next(http.seq)))
                errors += bad(status, body)

        t0 = now()
        await asyncio.gather(*[user(c) for c in conns])
        t1 = now()
        done, limit = 0, now() + a.limit
        while done < n - errors and now() < limit:
            await asyncio.sleep(0.02)
            done = await db.fetchval(prof["count"]) - base
        return done, errors, t1 - t0, now() - t0

    if a.warm_n:
        await through(a.warm_n)
    meter.start()
    done, errors, to_create, in_all = await through(a.n)
    m = meter.stop(a.n)
    await db.close()
    return {"n": a.n, "done": done, "errors": errors, "create_per_s": round(a.n / to_create, 1),
            "tasks_per_s": round(done / in_all, 1), **m}


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


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("mode", choices=["ops", "e2e", "latency", "fanout"])
    ap.add_argument("--profile", default="{}", help="a JSON file, or JSON itself")
    ap.add_argument("--set", action="append", default=[], metavar="KEY=JSON")
    ap.add_argument("--op", choices=["create", "task"], default="create")
    ap.add_argument("--conns", type=int, default=64)
    ap.add_argument("--seconds", type=float, default=8)
    ap.add_argument("--warmup", type=float, default=1, help="ops: seconds")
    ap.add_argument("--warm-n", type=int, default=0, help="e2e: tasks to create and wait for before")
    ap.add_argument("--n", type=int, default=1000, help="e2e: tasks")
    ap.add_argument("--limit", type=float, default=120, help="e2e: give up after so many seconds")
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
