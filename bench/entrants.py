"""Who takes part: TaskQL, and what people would pick instead; each with what it can be measured in."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.ours import Ours, knows
from bench.peer import PEERS, Peer, Program
from taskql.devstack import DevStack
from tests.deployment import ROOT
from web.build import has_node

NODE = PEERS / "node"
BIN = ROOT / ".venv-bench" / "bin"
END_TO_END_TASKS = 1000
PYTHON = str(BIN / "python")
GRAPHQL = ("create", "read", "e2e", "latency", "fanout", "memory")
REST = ("create", "read", "e2e", "latency")
QUEUE = ("create", "e2e")
"""A task queue's end to end run tells its latencies too."""


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One that can be measured, and the parts of the measurement that it takes part in."""

    name: str
    title: str
    parts: tuple[str, ...]
    open: Callable[[DevStack, Path], Ours | Peer]
    missing: Callable[[], str | None]
    """Why it can't take part here, if it can't."""
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
    tasks: int = END_TO_END_TASKS,
    watches: str = "sub",
) -> Entrant:
    """`needs`: a Python package; None is Node."""
    return Entrant(
        name=program.name,
        title=title,
        parts=parts,
        open=lambda stack, folder: Peer(stack, folder, program),
        missing=(lambda: without_package(needs)) if needs else without_node,
        tasks=tasks,
        watches=watches,
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
            open=lambda stack, folder: Ours(stack, folder),
        ),
        Entrant(
            name="ours-auth", title="TaskQL, with tokens", parts=GRAPHQL,
            missing=lambda: None if knows("AUTH") else "TaskQL has no setting AUTH yet",
            open=lambda stack, folder: Ours(stack, folder, auth=True),
        ),
        peer("Celery", CELERY, QUEUE, "celery", tasks=400),
        peer("taskiq + SQS", TASKIQ, QUEUE, "taskiq_aio_sqs", tasks=600),
        peer("procrastinate", PROCRASTINATE, QUEUE, "procrastinate", tasks=1500),
        peer("Node yoga", YOGA, GRAPHQL, None),
        peer("Node mercurius", MERCURIUS, ("create", "read"), None),
        peer("plain Strawberry", STRAWBERRY, GRAPHQL, "strawberry"),
        peer("REST and polling", SEED, REST, "fastapi", tasks=600, watches="poll"),
        peer("batching sketch", SKETCH, GRAPHQL, "strawberry"),
    )
}  # fmt: skip
