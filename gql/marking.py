"""A request's id: in the log's lines, and in the header of its answer."""

import logging
import time
from contextvars import copy_context

from starlette.types import Message, Scope, Send

from taskql.marks import begin_request

MORE_HEADERS = "taskql.headers"
"""The ASGI extension that holds, as `headers`, those which go with an answer, whoever sends it."""

Headers = list[tuple[bytes, bytes]]

logger = logging.getLogger(__name__)


def mark(scope: Scope) -> Headers:
    """From here on, lines are this request's, and so is what it starts; answers the header that says so."""
    sent = dict(scope["headers"])  # of two ids neither can be told to be wrong: the last one counts
    request_id = begin_request(sent.get(b"x-request-id"), sent.get(b"traceparent"))
    headers = [(b"x-request-id", request_id.encode())]
    if more := scope.get("extensions", {}).get(MORE_HEADERS):
        more["headers"] += headers
    return headers


def told(send: Send) -> Send:
    """At LOG_LEVEL=debug, a line for each request once it has been answered."""
    if not logger.isEnabledFor(logging.DEBUG):
        return send
    began = time.perf_counter()
    status = 0
    context = copy_context()

    async def send_and_tell(message: Message) -> None:
        nonlocal status, context
        await send(message)
        if message["type"] == "http.response.start":
            status = message["status"]
            context = copy_context()  # by now its operation is known; the rest may come from elsewhere
        elif not message.get("more_body", False):
            took = (time.perf_counter() - began) * 1000
            context.run(logger.debug, "answered with %d after %.1f ms", status, took)

    return send_and_tell
