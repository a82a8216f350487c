"""The load generator's mode `fanout`."""
from __future__ import annotations

import asyncio
import itertools
import random
import sys
import time

import orjson
from hiredis import pack_command

from load_http import Http, ms, now, pct, rss_all, seed_ids
from load_ws import fill, ws_open


async def publisher(url):
    """A connection that is told nothing in return: reading replies would take what clients need."""
    from redis.asyncio import ConnectionPool

    rds = await ConnectionPool.from_url(url).get_connection()
    await rds.send_command("CLIENT", "REPLY", "OFF")
    return rds


async def fanout(a, prof, meter):
    http = Http(prof)
    ids = a.ids.split(",") if a.ids else await seed_ids(http, a.tasks)
    if a.settle:
        await asyncio.sleep(a.settle)
    rds = await publisher(prof["redis"])
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
        p = b"".join([pack_command(("PUBLISH", fill(chan, id=i), fill(msg, id=i, seq=next(seq), now=time.time())))
                      for i in batch])
        t = now()
        for i in batch:
            pub_t[i] = t
        await rds.send_packed_command(p)

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
    await rds.disconnect()
    kb = lambda x, y: {k: round((y[k] - x[k]) / 1024 / a.subs, 1) for k in x if k in y}  # noqa: E731
    return {"subs": a.subs, "tasks": len(ids), "conns": n_conn, "rounds": rounds, "messages": n,
            "lost": lost, "msgs_per_s": round(n / m["seconds"], 1), "p50_ms": ms(pct(lat, .5)),
            "p99_ms": ms(pct(lat, .99)), "connect_s": round(t_conn, 2), "subscribe_s": round(t_sub, 2),
            "kb_per_conn": kb(rss0, rss1), "kb_per_sub": kb(rss0, rss2), **m}
