"""Runs ministack. A script of its own environment: nothing of taskql is imported here.

Ours is this: it listens on a socket that it is handed; it serves nobody before its queues are there;
receivers that wait at a queue are woken as soon as something changes there (ministack looks every 100 ms);
its Lambda workers end with it.
"""

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from importlib import import_module
from typing import Any

PR_SET_PDEATHSIG = 1
GRACE_SECONDS = 0.5  # for open long polls; the state is saved after them
LOOK_AGAIN_SECONDS = 0.1  # for what no request announces, as when SNS delivers
ARRIVALS = ("SendMessage", "SendMessageBatch", "ChangeMessageVisibility", "ChangeMessageVisibilityBatch")
DELETIONS = ("DeleteMessage", "DeleteMessageBatch")  # they let the next message of a FIFO group go

Handler = Callable[[dict[str, Any], str], Any]


class Bell:
    """Wakes those who wait at a queue."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    async def wait(self, queue: str, seconds: float) -> None:
        event = self._events.setdefault(queue, asyncio.Event())
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return

    def ring(self, queue: str) -> None:
        if event := self._events.pop(queue, None):
            event.set()


def wake_receivers(sqs: Any) -> None:
    """Replace ministack's handlers by ours, which call them."""
    bell = Bell()
    sqs._HANDLERS["ReceiveMessage"] = waiting(sqs, sqs._HANDLERS["ReceiveMessage"], bell)
    for action in (*ARRIVALS, *DELETIONS):
        sqs._HANDLERS[action] = ringing(sqs, sqs._HANDLERS[action], bell, action in DELETIONS)


def waiting(sqs: Any, receive: Handler, bell: Bell) -> Handler:
    async def handle(data: dict[str, Any], url: str) -> Any:
        queue = sqs._get_q(data.get("QueueUrl", url))
        wait = data.get("WaitTimeSeconds")
        if wait is None:
            wait = queue["attributes"].get("ReceiveMessageWaitTimeSeconds", 0)
        deadline = time.monotonic() + int(wait)
        while True:
            answer = await receive({**data, "WaitTimeSeconds": 0}, url)
            left = deadline - time.monotonic()
            if answer or left <= 0:
                return answer
            await bell.wait(queue["url"], min(left, LOOK_AGAIN_SECONDS, until_visible(queue)))

    return handle


def until_visible(queue: dict[str, Any]) -> float:
    """Seconds until the next message that is hidden now appears."""
    now = time.time()
    times = (message["visible_at"] - now for message in queue["messages"])
    return min((seconds for seconds in times if seconds > 0), default=LOOK_AGAIN_SECONDS)


def ringing(sqs: Any, change: Handler, bell: Bell, fifo_only: bool) -> Handler:
    def handle(data: dict[str, Any], url: str) -> Any:
        result = change(data, url)
        queue = sqs._get_q(data.get("QueueUrl", url))
        if queue["is_fifo"] or not fifo_only:
            bell.ring(queue["url"])
        return result

    return handle


class MortalProcess(subprocess.Popen[Any]):
    """A child that the kernel ends with us.

    It would do so with the thread that started it already: all are started by one that never ends.
    """

    _starter = ThreadPoolExecutor(max_workers=1)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        start = super().__init__
        self._starter.submit(start, *arguments, **options | {"preexec_fn": die_with_parent}).result()


LIBC = ctypes.CDLL(None)


def die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def furnished(application: Any, requests: list[dict[str, Any]]) -> Any:
    """The application, which serves nobody before it has granted these requests."""

    async def serve(scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def send_later(event: dict[str, Any]) -> None:
            if event["type"] == "lifespan.startup.complete":  # it has read its state by now
                for request in requests:
                    await grant(application, request)
            await send(event)

        await application(scope, receive, send_later if scope["type"] == "lifespan" else send)

    return serve


async def grant(application: Any, request: dict[str, Any]) -> None:
    """Make one HTTP request to an ASGI application in this process."""
    headers = [(name.lower().encode(), value.encode()) for name, value in request["headers"].items()]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": request["method"],
        "path": request["path"],
        "raw_path": request["path"].encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), *headers],
        "client": ("127.0.0.1", 0),
    }
    answer: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": request["body"].encode(), "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        answer.append(event)

    await application(scope, receive, send)
    if answer[0]["status"] != HTTPStatus.OK:
        raise RuntimeError(f"{request} was answered with {answer}")


async def serve() -> None:
    config = import_module("hypercorn.config").Config()
    config.bind = [f"fd://{os.environ['LISTENER']}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = GRACE_SECONDS
    config.loglevel = os.environ["LOG_LEVEL"]
    application = furnished(import_module("ministack.app").app, json.loads(os.environ["REQUESTS"]))
    wake_receivers(import_module("ministack.services.sqs"))
    await import_module("hypercorn.asyncio").serve(application, config)


if __name__ == "__main__":
    subprocess.Popen = MortalProcess  # type: ignore[misc]
    asyncio.run(serve())
