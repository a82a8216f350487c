"""The benchmark's page and its count of requests. Speed itself is measured, never tested."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.page import Book, page
from bench.tally import Tally

REQUEST = b"POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.%s\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def book() -> Book:
    book = Book(repeats=3)
    for figure, ours, yoga in (("create", 3000.0, 900.0), ("seen_p99", 20.0, 60.0), ("e2e", 800.0, 400.0)):
        for share in (0.9, 1, 1.2):
            book.beside.add(figure, "ours", ours * share, "")
            book.beside.add(figure, "yoga", yoga * share, "")
    book.cpu.add("create server", "ours", 150, "us")
    book.section("More cores").add("end to end", "2 consumers", 1000, "tasks/s")
    book.beside.note("Celery was left out: it could not be installed.")
    book.foreign += [0.1, 0.3]
    return book


def test_the_page_shows_medians_with_the_lowest_and_the_highest(book: Book) -> None:
    assert "| createTask (queues: enqueue), /s | 3,000 (2,700–3,600) | 900 (810–1,080) |" in page(book, {})


def test_a_ratio_above_one_is_ours_also_where_less_is_better(book: Book) -> None:
    rows = page(book, {}).splitlines()
    assert (
        "| createTask (queues: enqueue) | 3 times Node yoga or Node mercurius: 3.3, reached | 3.3 |" in rows
    )
    assert "| created to seen completed, p99 | under 40: 20, reached | 3 |" in rows


def test_a_goal_that_was_missed_or_has_nobody_to_be_held_against_is_told_so(book: Book) -> None:
    assert "5 times Node yoga: 2, not reached; 4 times procrastinate |" in page(book, {})


def test_the_page_tells_what_each_process_used_what_ours_does_alone_and_who_was_left_out(book: Book) -> None:
    shown = page(book, {"PostgreSQL": "18"})
    assert "| createTask (queues: enqueue) | TaskQL | 150 |" in shown
    assert "| 2 consumers | 1,000 |" in shown
    assert "Others used 0.20, at most 0.30 cores meanwhile" in shown
    assert "PostgreSQL 18." in shown
    assert "- Celery was left out: it could not be installed." in shown


async def test_the_tally_passes_everything_on_and_counts_what_is_asked_of_sqs() -> None:
    async with echo() as upstream, Tally(upstream) as tally:
        host, _, port = tally.stands_for(upstream).partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for action in (b"ReceiveMessage", b"ReceiveMessage", b"DeleteMessageBatch"):
            writer.write(REQUEST % action)
            assert await reader.readexactly(len(REQUEST % action)) == REQUEST % action
        writer.close()
        await writer.wait_closed()
    assert tally.counted == {"ReceiveMessage": 2, "DeleteMessageBatch": 1}


@asynccontextmanager
async def echo() -> AsyncIterator[str]:
    """A server that answers with what it is told; its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
