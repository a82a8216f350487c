"""URL SERVER_PID CLIENTS MESSAGES: connect, ask for a broadcast, count it (used by run.py)."""
import asyncio
import json
import sys
import time

import psutil
import uvloop

from loadgen import raise_nofile, ws_listener


async def main(url, pid, clients, messages):
    import picows

    got, done, ps = 0, asyncio.get_running_loop().create_future(), psutil.Process(pid)
    acks = 0

    def on_msg(l, b):
        nonlocal got, acks
        if b'"next"' in b:
            got += 1
            if got == clients * messages and not done.done():
                done.set_result(time.perf_counter())
        elif b"ack" in b:
            acks += 1
        elif b'"cpu"' in b:
            l.stats = json.loads(b)

    async def one():
        _, l = await picows.ws_connect(ws_listener(on_msg), url, extra_headers={"Sec-WebSocket-Protocol": "graphql-transport-ws"})
        l.say({"type": "connection_init"})
        return l

    r0, ls = ps.memory_info().rss, []
    for _ in range(clients // 25):
        ls += await asyncio.gather(*[one() for _ in range(25)])
    while acks < clients:
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    r1 = ps.memory_info().rss
    ctl = await one()
    c = ps.cpu_times()
    t = time.perf_counter()
    ctl.tr.send(picows.WSMsgType.TEXT, b"go %d" % messages)
    end = await asyncio.wait_for(done, 20)
    await asyncio.sleep(0.2)
    c2 = ps.cpu_times()
    n = clients * messages
    print(json.dumps({"us_cpu": round((c2.user + c2.system - c.user - c.system) / n * 1e6, 3),
                      "us_wall": round((end - t) / n * 1e6, 3), "kb_per_conn": round((r1 - r0) / 1024 / clients, 1)}))


raise_nofile()
uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
