"""One connection to a service that speaks HTTP/1.1: one exchange at a time, and many in turn.

Invariant: it stays open only after an answer that was read to its end and that nothing followed. Whatever
else happens closes it, a cancelled exchange too: its answer would be taken for that to the next request.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Ten messages of SQS are together 1 MiB at most, and some more as JSON."""


class Answer(NamedTuple):
    """What came back; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Connection(asyncio.Protocol):
    """What went wrong on it is an OSError; `lost` is told when it is closed."""

    def __init__(self, lost: "Callable[[Connection], None]") -> None:
        self._lost = lost
        self._parser = HttpResponseParser(self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._expected: asyncio.Future[Answer] | None = None
        self._headers: dict[str, str] = {}
        self._content: list[bytes] = []
        self._received_bytes = 0

    async def exchange(self, request: bytes, seconds: float) -> Answer:
        """The service's answer, if all of it is here within so many seconds."""
        if not self.is_open:
            raise ConnectionError("the connection was closed before the request")
        expected: asyncio.Future[Answer] = self._loop.create_future()
        self._expected = expected
        self._received_bytes = 0
        late = self._loop.call_later(seconds, self._expire, seconds)
        self._transport.write(request)
        try:
            return await expected
        except BaseException:
            self.close()  # even if the answer has just come: who gave up gives nothing back
            raise
        finally:
            late.cancel()

    @property
    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def close(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost(self)
        self._fail(ConnectionError(f"the connection was closed before the answer was complete: {error}"))

    def data_received(self, data: bytes) -> None:
        self._received_bytes += len(data)
        if self._received_bytes > MAX_ANSWER_BYTES:
            self._fail(ConnectionError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes"))
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(ConnectionError(f"the answer is not HTTP/1.1 as it should be: {error}"))

    def _expire(self, seconds: float) -> None:
        self._fail(TimeoutError(f"there was no answer within {seconds:g} s"))

    def _fail(self, error: OSError) -> None:
        self.close()
        if self._expected is not None and not self._expected.done():
            self._expected.set_exception(error)

    def on_message_begin(self) -> None:
        self._headers, self._content = {}, []
        if self._expected is None:
            self.close()  # nothing was asked

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, part: bytes) -> None:
        self._content.append(part)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self._expected is None:
            return  # it announces the answer
        if not self._parser.should_keep_alive():
            self.close()
        expected, self._expected = self._expected, None
        if not expected.done():
            expected.set_result(Answer(status, self._headers, b"".join(self._content)))
