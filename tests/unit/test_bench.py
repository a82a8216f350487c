"""The benchmark's page and its count of requests. Speed itself is measured, never tested."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench.entrants import CONCURRENCY
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
    assert "| createTask (queues: enqueue), /s | 3,000 (2,700–3,600) | 900 (810–1,080) |" in page(book)


def test_a_ratio_above_one_is_ours_also_where_less_is_better(book: Book) -> None:
    rows = page(book).splitlines()
    assert "| createTask (queues: enqueue) | 3.3 |" in rows
    assert "| created to seen completed, p99 | 3 |" in rows


def test_beside_each_goal_is_what_was_reached_of_it(book: Book) -> None:
    rows = page(book).splitlines()
    better = "3x the better of Node yoga and Node mercurius"
    assert f"| createTask (queues: enqueue) | {better} | 3.3x Node yoga, reached |" in rows
    assert "| created to seen completed, p99 | under 40 ms | 20, reached |" in rows
    assert "| end to end | 5x Node yoga | 2x Node yoga, not reached |" in rows
    assert "| end to end | 4x procrastinate | nobody to compare with |" in rows


def test_the_goals_are_held_with_tokens_too(book: Book) -> None:
    book.beside.add("create", "ours-auth", 1800, "/s")
    assert "| 3.3x Node yoga, reached | 2x Node yoga, not reached |" in page(book)


def test_what_failed_says_so_in_its_place_and_below_and_the_others_go_on(book: Book) -> None:
    with book.beside.surviving("Node mercurius, create,", ("create", "mercurius")):
        raise_what_nobody_expected()
    shown = page(book)
    assert "| createTask (queues: enqueue), /s | 3,000 (2,700–3,600) | 900 (810–1,080) | failed |" in shown
    assert "- Node mercurius, create, failed: 'per_s'" in shown


def test_the_page_is_there_as_soon_as_something_is_over(book: Book, tmp_path: Path) -> None:
    book.output = tmp_path / "results.md"
    with book.section("Growth").surviving("10,000 waiting"):
        book.section("Growth").add("createTask", "10,000 waiting", 2000, "/s")
    assert "| 10,000 waiting | 2,000 |" in book.output.read_text()


def test_the_page_tells_who_made_it_and_how_many_tasks_ran_at_a_time(book: Book) -> None:
    book.command = 'make bench BENCH="--repeats 3"'
    shown = page(book)
    assert 'by `make bench BENCH="--repeats 3"`, on' in shown
    assert f"| tasks at a time | {CONCURRENCY} | 10 |" in shown


def test_the_page_tells_what_each_process_used_what_ours_does_alone_and_who_was_left_out(book: Book) -> None:
    book.versions = {"PostgreSQL": "18"}
    book.cpu.add("create postgres", "ours", 100, "us")
    shown = page(book)
    assert "| createTask (queues: enqueue) | TaskQL | 150 |  | 100 |  |  | 250 |" in shown
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


def raise_what_nobody_expected() -> None:
    raise KeyError("per_s")


@asynccontextmanager
async def echo() -> AsyncIterator[str]:
    """A server that answers with what it is told; its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
