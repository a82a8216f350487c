"""Who takes part: TaskQL, and what people would pick instead; each with what it can be measured in."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.ours import Ours
from bench.peer import PEERS, Peer, Program
from taskql.devstack import DevStack
from taskql.settings import Settings
from tests.deployment import ROOT
from web.build import has_node

NODE = PEERS / "node"
BIN = ROOT / ".venv-bench" / "bin"
END_TO_END_TASKS = 1000
PYTHON = str(BIN / "python")
CONCURRENCY = str(Settings.model_fields["taskql_concurrency"].default)
GRAPHQL = ("create", "read", "e2e", "latency", "fanout", "memory")
REST = ("create", "read", "e2e", "latency")
QUEUE = ("create", "e2e", "latency")


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One that can be measured, and the parts of the measurement that it takes part in."""

    name: str
    title: str
    parts: tuple[str, ...]
    open: Callable[[DevStack, Path], Ours | Peer]
    missing: Callable[[], str | None]
    """Why it can't take part here, if it can't."""
    at_a_time: str = ""
    """Tasks that its worker runs at a time, as it is started by default."""
    warm_up_seconds: float = 2
    warm_up_tasks: int = 500
    """What happens before anything is measured: a fresh process is slow."""
    tasks: int = END_TO_END_TASKS
    """In an end-to-end run."""
    watches: str = "sub"
    """How its clients learn of the end: by subscription, or by polling."""


def peer(
    title: str,
    program: Program,
    parts: tuple[str, ...],
    needs: str | None,
    *,
    at_a_time: str = "",
    tasks: int = END_TO_END_TASKS,
    watches: str = "sub",
) -> Entrant:
    """`needs`: a Python package; None is Node, which compiles what it has run some thousand times."""
    warm_up: dict[str, Any] = {} if needs else {"warm_up_seconds": 10, "warm_up_tasks": 3000}
    return Entrant(
        name=program.name,
        title=title,
        parts=parts,
        open=lambda stack, folder: Peer(stack, folder, program),
        missing=(lambda: without_package(needs)) if needs else without_node,
        at_a_time=at_a_time,
        tasks=tasks,
        watches=watches,
        **warm_up,
    )


def uvicorn(app: str) -> tuple[str, ...]:
    quiet = ("--no-access-log", "--log-level", "warning", "--loop", "uvloop", "--http", "httptools")
    return (PYTHON, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", "PORT", *quiet)


def script(name: str, *arguments: str) -> tuple[str, ...]:
    return (PYTHON, str(PEERS / name), *arguments)


def node(role: str, *arguments: str) -> tuple[str, ...]:
    return (shutil.which("node") or "node", str(NODE / "server.mjs"), role, *arguments)


def without_package(package: str) -> str | None:
    found = (
        Path(PYTHON).exists()
        and not subprocess.run(
            [PYTHON, "-c", f"import {package}"], capture_output=True, check=False
        ).returncode
    )
    return None if found else f"its package `{package}` could not be installed here"


def without_node() -> str | None:
    if (
        shutil.which("node")
        and has_node(os.environ)
        and (NODE / "node_modules" / ".package-lock.json").exists()
    ):
        return None
    return "there is no Node 20.19 or 22.12 here, or its packages could not be installed"


STRAWBERRY = Program(
    name="strawberry", path="/graphql/", api=uvicorn("peer_strawberry:app"),
    worker=script("peer_strawberry.py", "worker"), worker_says=b"ready",
)  # fmt: skip
YOGA = Program(name="yoga", api=node("api", "PORT"), worker=node("worker"), worker_says=b"ready")
MERCURIUS = Program(name="mercurius", api=node("mercurius", "PORT"))
SKETCH = Program(
    name="sketch", api=uvicorn("peer_lean:app"), worker=script("peer_lean.py", "worker"), worker_says=b"ready"
)
SEED = Program(
    name="seed", profile="seed", path="/", api=uvicorn("peer_seed:app"),
    worker=script("peer_seed.py", "worker"), worker_says=b"ready",
)  # fmt: skip
CELERY = Program(
    name="celery", queue="celeryq", driver=script("peer_celery.py"),
    worker=(str(BIN / "celery"), "-A", "peer_celery", "worker", "-P", "prefork", "-c", "2", "-l", "WARNING",
            "--without-gossip", "--without-mingle", "--without-heartbeat"),
)  # fmt: skip
TASKIQ = Program(
    name="taskiq", queue="taskiqq", driver=script("peer_taskiq.py"),
    worker=(str(BIN / "taskiq"), "worker", "peer_taskiq:broker", "--workers", "1", "--log-level", "WARNING"),
)  # fmt: skip
PROCRASTINATE = Program(
    name="procrastinate", driver=script("peer_procrastinate.py"),
    before=(str(BIN / "procrastinate"), "--app=peer_procrastinate.app", "schema", "--apply"),
    worker=(str(BIN / "procrastinate"), "--app=peer_procrastinate.app", "worker", "--concurrency", "32",
            "-q", "q"),
)  # fmt: skip

ENTRANTS = {
    entrant.name: entrant
    for entrant in (
        Entrant(
            name="ours", title="TaskQL", parts=GRAPHQL, missing=lambda: None,
            open=lambda stack, folder: Ours(stack, folder), at_a_time=CONCURRENCY, tasks=2000,
        ),
        Entrant(
            name="ours-auth", title="TaskQL, with tokens", parts=GRAPHQL, missing=lambda: None,
            open=lambda stack, folder: Ours(stack, folder, auth=True), at_a_time=CONCURRENCY, tasks=2000,
        ),
        peer("Celery", CELERY, QUEUE, "celery", at_a_time="2", tasks=400),
        peer("taskiq + SQS", TASKIQ, QUEUE, "taskiq_aio_sqs", at_a_time="100", tasks=600),
        peer("procrastinate", PROCRASTINATE, QUEUE, "procrastinate", at_a_time="32", tasks=1500),
        peer("Node yoga", YOGA, GRAPHQL, None, at_a_time="10"),
        peer("Node mercurius", MERCURIUS, ("create", "read"), None),
        peer("plain Strawberry", STRAWBERRY, GRAPHQL, "strawberry", at_a_time="10", tasks=400),
        peer("REST and polling", SEED, REST, "fastapi", at_a_time="1", tasks=400, watches="poll"),
        peer("batching sketch", SKETCH, GRAPHQL, "strawberry", at_a_time="30", tasks=2000),
    )
}  # fmt: skip
