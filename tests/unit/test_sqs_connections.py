"""Connections of our own to SQS, against servers that do what servers should not."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from taskql.adapters.sqs import connection, connections
from taskql.adapters.sqs.connection import Answer
from taskql.adapters.sqs.connections import Connections
from tests.unit.http_server import (
    LONGEST_WAIT_SECONDS,
    Server,
    Talk,
    answer,
    answering,
    echoing,
    request_from,
    served,
)


@asynccontextmanager
async def connected(
    *talks: Talk, limit: int = 10, read_seconds: float = LONGEST_WAIT_SECONDS
) -> AsyncIterator[tuple[Server, Connections]]:
    async with served(*talks) as server:
        ours = Connections(
            "127.0.0.1",
            server.port,
            None,
            limit=limit,
            connect_seconds=LONGEST_WAIT_SECONDS,
            read_seconds=read_seconds,
        )
        yield server, ours
        ours.close()


def a_request(body: bytes = b"{}") -> bytes:
    return b"POST / HTTP/1.1\r\nhost: sqs\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


async def asked(ours: Connections, body: bytes = b"{}") -> bytes:
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        return (await ours.exchange(a_request(body))).content


# ---------------------------------------------------------------- one after another, and side by side


async def test_one_connection_is_used_again_and_again() -> None:
    async with connected(echoing) as (server, ours):
        bodies = [b"%d" % number * number for number in range(20)]
        assert [await asked(ours, body) for body in bodies] == bodies
        assert server.connections == 1


async def test_those_who_ask_at_the_same_time_get_answers_to_their_own_questions() -> None:
    async with connected(echoing, limit=3) as (server, ours):
        bodies = [b"%d" % number for number in range(50)]
        assert await asyncio.gather(*(asked(ours, body) for body in bodies)) == bodies
        assert server.connections == 3


async def test_an_answer_tells_its_status_and_its_headers() -> None:
    refusing = answering(answer(b"no", "503 Slow Down", "X-Why: tired"))
    async with connected(refusing) as (_, ours):
        found = await ours.exchange(a_request())
    assert found == Answer(503, {"content-length": "2", "x-why": "tired"}, b"no")


async def test_an_error_of_the_service_is_an_answer_like_any_other() -> None:
    async with connected(answering(answer(b"no", "500 Oh"), answer(b"yes"))) as (server, ours):
        assert [await asked(ours), await asked(ours)] == [b"no", b"yes"]
        assert server.connections == 1


async def test_an_answer_in_chunks_and_crumbs_is_put_together() -> None:
    chunks = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: t\r\n\r\n"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks

    async def crumble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request_from(reader)
            for index in range(len(chunked)):
                writer.write(chunked[index : index + 1])
                await writer.drain()
                await asyncio.sleep(0)

    async with connected(crumble) as (server, ours):
        assert [await asked(ours), await asked(ours)] == [b"abcde"] * 2
        assert server.connections == 1


async def test_what_only_announces_an_answer_is_passed_over() -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with connected(answering(early + answer(b"at last"), answer(b"again"))) as (server, ours):
        found = await ours.exchange(a_request())
        assert found == Answer(200, {"content-length": "7"}, b"at last")
        assert await asked(ours) == b"again"
        assert server.connections == 1


# ---------------------------------------------------------------- connections that end


@pytest.mark.parametrize(
    "last",
    [
        answer(b"bye", "200 OK", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nbye",
        answer(b"bye") + answer(b"and by the way"),
        answer(b"bye") + b"<html>",
    ],
    ids=["said to be the last", "of an old server", "followed by another", "followed by anything"],
)
async def test_after_such_an_answer_a_new_connection_is_opened(last: bytes) -> None:
    async with connected(answering(last), echoing) as (server, ours):
        assert await asked(ours) == b"bye"
        assert await asked(ours, b"hello") == b"hello"
        assert server.connections == 2


async def test_a_connection_that_the_server_closes_meanwhile_is_not_used_again() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        writer.write(answer(b"one"))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with connected(once, echoing) as (server, ours):
        assert await asked(ours) == b"one"
        await until_lost(ours)
        assert await asked(ours, b"two") == b"two"
        assert server.connections == 2


async def test_a_connection_on_which_something_comes_unasked_is_not_used_again() -> None:
    speak = asyncio.Event()

    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        writer.write(answer(b"one"))
        await speak.wait()
        writer.write(answer(b"you have been silent for long", "408 Request Timeout"))
        await reader.read()

    async with connected(talkative, echoing) as (server, ours):
        assert await asked(ours) == b"one"
        speak.set()
        await until_lost(ours)
        assert await asked(ours, b"two") == b"two"
        assert server.connections == 2


async def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0)
    async with connected(echoing) as (server, ours):
        assert [await asked(ours), await asked(ours)] == [b"{}", b"{}"]
        assert server.connections == 2
        await server.until_ended(0)


async def test_a_connection_that_is_closed_as_soon_as_it_is_opened_answers_nothing_at_once() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

    async with connected(hang_up) as (_, ours):
        found = await ours._opened()
        await until_lost(ours)
        with pytest.raises(ConnectionError, match="before the request"):
            await found.exchange(a_request(), LONGEST_WAIT_SECONDS)


# ---------------------------------------------------------------- exchanges that fail


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nwithout an end",
    ],
    ids=["nothing", "half a head", "half a body", "some chunks", "unknown length"],
)
async def test_an_answer_that_is_cut_off_is_none(broken: bytes) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        writer.write(broken)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    await assert_fails(cut, "closed before the answer was complete")


@pytest.mark.parametrize(
    "strange",
    [
        b"<html>\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["no HTTP", "another protocol", "two lengths", "no length of a chunk"],
)
async def test_what_is_no_answer_is_not_waited_out(strange: bytes) -> None:
    await assert_fails(answering(strange), "not HTTP/1.1 as it should be")


@pytest.mark.parametrize("head", ["Content-Length: 99999999999\r\n\r\n", "x: "])
async def test_an_answer_without_end_is_cut_off(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 100_000)

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        writer.write(f"HTTP/1.1 200 OK\r\n{head}".encode())
        while True:
            writer.write(b"x" * 10_000)
            await writer.drain()

    await assert_fails(pour, "larger than 100000 bytes")


async def test_many_answers_may_together_be_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_ANSWER_BYTES", 500)
    async with connected(echoing) as (server, ours):
        assert [await asked(ours, b"x" * 200) for _ in range(10)] == [b"x" * 200] * 10
        assert server.connections == 1


async def test_an_answer_that_takes_too_long_is_none() -> None:
    """However much of it comes meanwhile."""

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        await reader.read()

    async with connected(trickle, echoing, read_seconds=0.05) as (server, ours):
        with pytest.raises(TimeoutError, match=r"no answer within 0.05 s"):
            await ours.exchange(a_request())
        await server.until_ended(0)


async def test_an_exchange_that_is_cancelled_leaves_no_answer_to_the_next() -> None:
    asked_first = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        asked_first.set()
        await reader.read()

    async with connected(slow, echoing) as (server, ours):
        first = asyncio.create_task(asked(ours, b"first"))
        await asked_first.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await server.until_ended(0)
        assert await asked(ours, b"second") == b"second"


async def test_an_exchange_that_is_cancelled_as_its_answer_comes_leaves_no_connection_behind() -> None:
    begun = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        begun.set()
        await reader.read()

    async with connected(silent) as (server, ours):
        exchange = asyncio.create_task(asked(ours))
        await begun.wait()
        [used] = ours._all
        used.data_received(answer(b"just now"))
        exchange.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange
        await server.until_ended(0)


async def test_whoever_waits_for_a_connection_gets_it_when_an_exchange_is_cancelled() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with connected(silent, echoing, limit=1) as (_, ours):
        first, second = (asyncio.create_task(asked(ours, body)) for body in (b"first", b"second"))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == b"second"


async def test_closing_ends_what_is_under_way() -> None:
    begun = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_from(reader)
        begun.set()
        await reader.read()

    async with connected(silent) as (server, ours):
        exchange = asyncio.create_task(asked(ours))
        await begun.wait()
        ours.close()
        with pytest.raises(ConnectionError):
            await exchange
        await server.until_ended(0)


async def test_nobody_there_is_an_error_of_the_system() -> None:
    async with connected(echoing) as (_, ours):
        pass
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asked(ours)


async def assert_fails(talk: Talk, why: str) -> None:
    """The exchange fails, its connection is closed, and the next exchange has another."""
    async with connected(talk, echoing) as (server, ours):
        with pytest.raises(ConnectionError, match=why):
            await asked(ours)
        await server.until_ended(0)
        assert await asked(ours, b"next") == b"next"
        assert server.connections == 2


async def until_lost(ours: Connections) -> None:
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        while ours._all:
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "scenario",
    [
        test
        for name, test in list(globals().items())
        if name.startswith("test_") and not inspect.signature(test).parameters
    ],
)
def test_it_is_the_same_on_the_loop_that_our_processes_run(scenario: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())  # type: ignore[arg-type]
