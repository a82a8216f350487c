"""The load generator's graphql-transport-ws client."""
from __future__ import annotations

import asyncio

import orjson


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
