"""`make run`, as somebody who has just cloned the repository meets it: with make, sh and curl."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

CHECKOUT = Path(__file__).parents[2]
READY_SECONDS = 60
END_SECONDS = 20

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the printed requests need curl")


class Run:
    """One `make run` (or another command of the checkout) with its output so far."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.folder = folder
        env = plain_environment()
        with self._file("stdout").open("wb") as out, self._file("stderr").open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=CHECKOUT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    @property
    def stdout(self) -> str:
        return self._file("stdout").read_text()

    @property
    def stderr(self) -> str:
        return self._file("stderr").read_text()

    @property
    def supervisor(self) -> psutil.Process:
        """The one child of make: its recipe becomes the supervisor by `exec`."""
        (child,) = psutil.Process(self.process.pid).children()
        return child

    def program(self, module: str) -> psutil.Process | None:
        """The process that runs `python -m MODULE`, once it does."""
        for child in self.supervisor.children():
            if child.cmdline()[1:] == ["-m", module]:
                return child
        return None

    def until_says(self, text: str) -> None:
        until(lambda: text in self.stdout or self.process.poll() is not None, READY_SECONDS)
        assert text in self.stdout, self.stdout + self.stderr

    def end(self) -> int:
        return self.process.wait(END_SECONDS)

    def _file(self, name: str) -> Path:
        return self.folder / name


def plain_environment() -> dict[str, str]:
    """Ours, without what `make test` or a developer's shell would add to a `make run` of its own."""
    ours = (
        "MAKE",
        "MFLAGS",
        "PORT",
        "HOST",
        "DATA",
        "CONSUMERS",
        "TASKQL_",
        "DATABASE_",
        "REDIS_",
        "SQS_",
        "AWS_",
    )
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@contextmanager
def make_run(folder: Path, port: int) -> Iterator[Run]:
    """`make run`, ready, on data of its own; all of it is gone afterwards."""
    run = Run(["make", "run", f"PORT={port}", f"DATA={folder / 'data'}"], folder)
    try:
        run.until_says("watch it live")
        yield run
    finally:
        run.process.terminate()
        run.end()


def until(true: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def printed_requests(output: str) -> list[str]:
    paragraphs = [dedent(paragraph) for paragraph in output.split("\n\n")]
    return [paragraph for paragraph in paragraphs if paragraph.startswith(("curl ", "ID="))]


def in_a_shell(script: str) -> str:
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=END_SECONDS)
    assert alive == []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with make_run(tmp_path_factory.mktemp("make-run"), free_port()) as run:
        yield run


@needs_curl
def test_the_first_requests_work_as_printed(shared: Run) -> None:
    create, list_latest, watch = printed_requests(shared.stdout)

    created = json.loads(in_a_shell(create))["data"]["createTask"]["task"]
    listed = json.loads(in_a_shell(list_latest))["data"]["tasks"]["nodes"]
    watched = in_a_shell(watch)

    assert created["status"] == "PENDING"
    assert {"id": created["id"], "title": "Hello"}.items() <= listed[0].items()
    assert "event: next" in watched
    assert "COMPLETED" in watched
    assert "event: complete" in watched


def test_it_says_where_to_look(shared: Run) -> None:
    assert "GraphiQL" in shared.stdout
    assert "/graphql" in shared.stdout
    assert "/readyz" in shared.stdout


def test_a_killed_consumer_is_started_again(shared: Run) -> None:
    until(lambda: shared.program("consumer"), READY_SECONDS)
    consumer = shared.program("consumer")
    assert consumer is not None

    consumer.kill()

    shared.until_says("consumer-1 was killed by SIGKILL")
    until(lambda: (again := shared.program("consumer")) and again != consumer, READY_SECONDS)


def test_a_taken_port_is_named_with_another_one_to_choose(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run = Run(["make", "run", f"PORT={port}", f"DATA={tmp_path / 'data'}"], tmp_path)
        code = run.end()

    assert code != 0
    assert f"TaskQL: port {port} is in use by " in run.stderr
    assert "choose another: make run PORT=" in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "data").exists()


def test_ctrl_c_ends_everything_quietly(tmp_path: Path) -> None:
    with make_run(tmp_path, free_port()) as run:
        processes = family(run.supervisor)

        run.supervisor.send_signal(signal.SIGINT)

        assert run.end() == 0
    assert_gone(processes)
    assert run.stdout.endswith("stopped\n")
    assert "Traceback" not in run.stdout + run.stderr


def test_kill_9_of_the_supervisor_leaves_no_process_behind(tmp_path: Path) -> None:
    with make_run(tmp_path, free_port()) as run:
        processes = family(run.supervisor)

        run.supervisor.kill()

        assert_gone(processes)


def test_kill_9_of_make_takes_the_stack_along(tmp_path: Path) -> None:
    with make_run(tmp_path, free_port()) as run:
        processes = family(run.supervisor)

        run.process.kill()

        assert_gone(processes)
    assert run.stdout.endswith("stopped\n")


def test_services_only_prints_settings_and_stays(tmp_path: Path) -> None:
    data = tmp_path / "data"
    run = Run([sys.executable, "-m", "taskql", "dev", "--services-only", f"--data={data}"], tmp_path)
    run.until_says("DATABASE_URL=")
    assert run.process.poll() is None
    processes = family(psutil.Process(run.process.pid))

    run.process.terminate()

    assert run.end() == 0
    assert_gone(processes)
    settings = dict(line.split("=", 1) for line in run.stdout.splitlines())
    assert {"DATABASE_URL", "REDIS_URL", "SQS_QUEUE_URL", "AWS_ENDPOINT_URL"} <= settings.keys()


@pytest.mark.parametrize("wrong", ["--port=abc", "--port=0", "--consumers=-1", "--data="])
def test_a_wrong_option_gets_one_line(wrong: str, tmp_path: Path) -> None:
    run = Run([sys.executable, "-m", "taskql", "dev", wrong], tmp_path)

    assert run.end() == 2
    assert run.stderr.startswith("TaskQL: ")
    assert run.stderr.count("\n") == 1
