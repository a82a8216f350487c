"""Acme's handlers through the whole system: the API, PostgreSQL, SQS, Redis and a consumer."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from taskql.testing.system import System

BODY = b"fruit,price\napple,1.5\n"


@contextmanager
def server(*statuses: int) -> Iterator[str]:
    """The URL of a page that is answered with each of the statuses in turn."""
    left = iter(statuses)

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(next(left))
            self.send_header("Retry-After", "0")
            self.send_header("Content-Type", "text/csv")
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY)

        def log_message(self, *args: object) -> None:
            """The tests' output is not its place."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as listening:
        Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}/prices.csv"
        listening.shutdown()


async def test_a_server_that_fails_first_is_asked_until_it_answers(taskql: System) -> None:
    with server(503, 500, 200) as url:
        task = await taskql.run("fetch", {"url": url})
    assert (task.status, task.attempt) == ("COMPLETED", 3)
    assert task.result["kind"] == "TEXT"
    assert task.result["size"] == len(BODY)
    assert task.result["sha256"] == hashlib.sha256(BODY).hexdigest()


async def test_a_page_that_is_not_there_fails_at_once_and_says_why(taskql: System) -> None:
    with server(404) as url:
        task = await taskql.run("fetch", {"url": url})
    assert (task.status, task.attempt) == ("FAILED", 1)
    assert task.failure_detail == {
        "__typename": "NotThere",
        "url": url,
        "status": 404,
        "message": "The server answers, but not with a page.",
    }


def test_a_table_is_summarised_while_somebody_watches(taskql: System) -> None:
    task = taskql.run_sync("summarise", {"text": "a;b\n" + "1;\n" * 2000, "separator": "SEMICOLON"})
    assert task.status == "COMPLETED"
    assert task.result["columns"][0]["numbers"] == {"minimum": 1, "maximum": 1, "mean": 1}
    assert task.result["columns"][1] == {"name": "b", "values": 0, "blanks": 2000, "numbers": None}
    assert task.progress[-1].fraction == 1
