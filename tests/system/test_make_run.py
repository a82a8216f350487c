"""`make run`, as somebody who has just cloned the repository meets it: with make, sh and curl."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from tests.deployment import free_port, poll
from tests.documents import blocks
from tests.make_run import READY_SECONDS, Run, assert_gone, family, make_run

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the printed requests need curl")


def printed_requests(output: str) -> list[str]:
    paragraphs = [dedent(paragraph) for paragraph in output.split("\n\n")]
    return [paragraph for paragraph in paragraphs if paragraph.startswith(("curl ", "ID="))]


def in_a_shell(script: str) -> str:
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


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


def test_the_debugging_page_works_as_written(shared: Run) -> None:
    look_inside = "\n".join(block.text for block in blocks("docs/debugging.md"))
    seen = in_a_shell("set -e\n" + look_inside.replace(".taskql/", f"{shared.folder / 'data'}/"))

    assert "lease_expires_at" in seen
    assert "ApproximateNumberOfMessages" in seen
    assert "are watched; True" in seen


def test_a_killed_consumer_is_started_again(shared: Run) -> None:
    poll(lambda: shared.program("consumer"), READY_SECONDS)
    consumer = shared.program("consumer")
    assert consumer is not None

    consumer.kill()

    shared.until_says("consumer-1 was killed by SIGKILL")
    poll(lambda: (again := shared.program("consumer")) and again != consumer, READY_SECONDS)


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
