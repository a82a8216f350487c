"""`python -m taskql verify` against deployments that work, and against what does not."""

import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from taskql.devstack import DevStack
from taskql.registry import SHIPPED
from tests.deployment import ROOT, START_SECONDS, Deployment, free_port, poll

VERIFY = [sys.executable, "-m", "taskql", "verify"]


def verify(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*VERIFY, "--url", url, *options],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def line(report: str, name: str) -> str:
    """The line about a step."""
    [found] = [each for each in report.splitlines() if each[2:].startswith(f"{name} ")]
    return found


@contextmanager
def web_server(answer: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a web server that answers as told."""
    with ThreadingHTTPServer(("127.0.0.1", 0), answer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Answer(BaseHTTPRequestHandler):
    """A web server's answer to everything, and no line about it on our terminal."""

    status, body = 200, b"<h1>It works!</h1>"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *values: object) -> None:
        pass


class LetsNobodyIn(Answer):
    status = 401


class ProxyWithoutWebSockets(Answer):
    """Passes requests on to `api`, but drops the headers that ask for a WebSocket, as plain proxies do."""

    api = ""

    def do_GET(self) -> None:
        self.forward(b"")

    def do_POST(self) -> None:
        self.forward(self.rfile.read(int(self.headers["Content-Length"])))

    def forward(self, body: bytes) -> None:
        headers = {"Content-Type": self.headers.get("Content-Type", "")}
        passed_on = httpx.request(self.command, f"{self.api}{self.path}", content=body, headers=headers)
        self.send_response(passed_on.status_code)
        self.send_header("Content-Type", passed_on.headers["Content-Type"])
        self.end_headers()
        self.wfile.write(passed_on.content)


@pytest.fixture(scope="module")
async def unconsumed(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """A deployment that lacks its consumer."""
    async with Deployment(stack, tmp_path_factory.mktemp("unconsumed")) as deployment:
        deployment.start_api()
        yield deployment


@pytest.mark.parametrize("path", ["", "/", "/graphql"])
def test_deployment_that_works_passes(deployment: Deployment, path: str) -> None:
    done = verify(deployment.url + path)
    assert done.returncode == 0, done.stdout
    for kind in SHIPPED:
        end = "failed" if kind == "fail" else "completed"
        assert line(done.stdout, kind).startswith("✓")
        assert f" ms, {end} after " in line(done.stdout, kind)
    assert "postgresql ok, redis ok, sqs ok" in line(done.stdout, "ready")
    for step in ("alive", "websocket", "idempotency", "events", "bad input"):
        assert line(done.stdout, step).startswith("✓")
    assert done.stderr == ""


def test_token_harms_nobody(deployment: Deployment) -> None:
    assert verify(deployment.url, "--token", "a.b.c").returncode == 0


async def test_handler_of_the_deployment_alone_is_named_and_skipped(stack: DevStack, tmp_path: Path) -> None:
    write_handler(tmp_path / "theirs.py")
    settings = {"TASK_HANDLERS": "theirs", "PYTHONPATH": str(tmp_path)}
    async with Deployment(stack, tmp_path, settings) as deployment:
        deployment.start_api()
        deployment.start_consumers()
        done = verify(deployment.url)
    assert done.returncode == 0, done.stdout
    assert line(done.stdout, "greet").startswith("– greet        skipped: ")


def write_handler(file: Path) -> None:
    file.write_text(
        "from typing import Never\n\nfrom taskql import Permanent, TaskContext, handler\n\n\n"
        "@handler('greet')\nasync def greet(task: TaskContext) -> Never:\n    raise Permanent('no time')\n"
    )


def test_missing_consumer_is_told_by_what_does_not_end(unconsumed: Deployment) -> None:
    done = verify(unconsumed.url, "--timeout", "3")
    assert done.returncode == 1
    for step in (*SHIPPED, "events"):
        assert line(done.stdout, step).startswith("✗")
        assert "not finished within 3 s" in line(done.stdout, step)
        assert "is PENDING; does a consumer run" in line(done.stdout, step)
    assert line(done.stdout, "idempotency").startswith("✓")
    assert done.stdout.endswith("Not well: 7 failed.\n")


def test_nobody_at_the_address_is_told(tmp_path: Path) -> None:
    done = verify(f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "/healthz can't be reached (" in line(done.stdout, "alive")


def test_server_that_never_answers_meets_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = verify(f"http://127.0.0.1:{silent.getsockname()[1]}", "--timeout", "1")
    assert done.returncode == 1
    assert "not finished within 1 s: there was no answer" in line(done.stdout, "alive")


def test_other_web_server_is_told_from_taskql() -> None:
    with web_server(Answer) as url:
        done = verify(url)
    assert done.returncode == 1
    assert "is not TaskQL: it sent text/html with status 200" in line(done.stdout, "alive")


def test_server_that_lets_nobody_in_asks_for_a_token() -> None:
    with web_server(LetsNobodyIn) as url:
        done = verify(url)
    assert done.returncode == 1
    assert "pass --token" in line(done.stdout, "alive")


def test_proxy_that_drops_websockets_is_suspected(deployment: Deployment) -> None:
    proxy = type("Proxy", (ProxyWithoutWebSockets,), {"api": deployment.url})
    with web_server(proxy) as url:
        done = verify(url)
    assert done.returncode == 1
    assert line(done.stdout, "kinds").startswith("✓")
    assert "does a proxy in between pass on `Upgrade: websocket`?" in line(done.stdout, "websocket")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://", "http://host:port"])
def test_address_that_is_none_is_refused(url: str) -> None:
    done = verify(url)
    assert done.returncode == 1
    assert done.stderr.startswith(f"TaskQL: {url!r} is no URL of a deployment")


def test_ctrl_c_ends_it_without_a_word(unconsumed: Deployment, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        process = subprocess.Popen([*VERIFY, "--url", unconsumed.url], cwd=ROOT, stdout=out, stderr=err)
    poll(lambda: "bad input" in (tmp_path / "out").read_text(), START_SECONDS)
    process.send_signal(signal.SIGINT)
    assert process.wait(START_SECONDS) == 130
    assert (tmp_path / "err").read_text() == ""
