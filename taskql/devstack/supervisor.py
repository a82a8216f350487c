"""`python -m taskql dev`: the services, the migrations, the API and the consumers, in one terminal.

Invariant: whatever ends the supervisor, be it Ctrl-C, a closed terminal or kill -9, ends all of it.
"""

import asyncio
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from taskql.devstack import DevStack, DevStackError
from taskql.devstack.child import die_with
from taskql.devstack.console import Console
from taskql.devstack.keeper import LOOK_SECONDS, STOP_SIGNALS, Keeper
from taskql.devstack.port import PortError, require_free_port
from taskql.devstack.process import Process, ProcessError
from taskql.devstack.revival import Revival
from taskql.devstack.welcome import base_url, reachable, welcome

# A stopping consumer ends its open poll, then gives its tasks some time; both within the grace, unless set.
QUICK_TO_STOP = {"TASKQL_POLL_SECONDS": "1", "TASKQL_DRAIN_SECONDS": "1"}
"""Ctrl-C should end it at once: what still runs is given back, and no attempt is lost by that."""
AWS_OF_THE_USER = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SESSION_TOKEN",
    "AWS_CA_BUNDLE",
)
"""The stack's queues have credentials of their own, and nobody's profile has a say in them."""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    host: str
    port: int
    data: Path
    consumers: int
    services_only: bool = False
    end_with_parent: bool = False


def dev(options: Options) -> int:
    """Run in the foreground until asked to stop; the exit code."""
    if options.end_with_parent:
        die_with(os.getppid(), signal.SIGTERM)
    let_stop_signals_interrupt()
    console = Console(sys.stderr if options.services_only else sys.stdout)
    try:
        if options.services_only:
            run_services(options, console)
        else:
            run_everything(options, console)
    except KeyboardInterrupt:
        pass  # the usual way to stop it
    except (PortError, DevStackError, ProcessError) as error:
        print(f"TaskQL: {error}", file=sys.stderr)
        return 1
    console.say("stopped")
    return 0


def run_services(options: Options, console: Console) -> None:
    """Start the three services, tell their settings, and stay."""
    with services(options, console) as stack:
        for name, value in stack.env.items():
            print(f"{name}={value}")
        sys.stdout.flush()
        revival = revival_of(stack, console)
        while True:
            revival.look()
            time.sleep(LOOK_SECONDS)


def run_everything(options: Options, console: Console) -> None:
    require_free_port(options.host, options.port)
    with services(options, console) as stack:
        write_settings(stack)
        env = environment(options, stack.env)
        with console.timed("migrations", "done"):
            migrate(env)
        keep_running(options, console, stack, env)


@contextmanager
def services(options: Options, console: Console) -> Iterator[DevStack]:
    """The three services, stopped afterwards, even when they had only half started."""
    stack = DevStack(data=options.data, say=console.say)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def write_settings(stack: DevStack) -> None:
    """Leave the services' settings beside their data, for who wants to look inside (docs/debugging.md)."""
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in stack.env.items()]
    (stack.data / "env").write_text("".join(lines))


def revival_of(stack: DevStack, console: Console) -> Revival:
    return Revival((stack.postgres, stack.valkey, stack.sqs), console.say)


def environment(options: Options, settings: Mapping[str, str]) -> dict[str, str]:
    """The processes' environment: the stack's settings win over the shell's, and those over `.env`."""
    address = {"HOST": options.host, "PORT": str(options.port)}
    shell = {name: value for name, value in os.environ.items() if name not in AWS_OF_THE_USER}
    return {**QUICK_TO_STOP, **shell, **settings, **address}


def migrate(env: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taskql", "migrate"], env=env, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode:
        raise ProcessError(done.stderr.strip().removeprefix("TaskQL: "))


def keep_running(options: Options, console: Console, stack: DevStack, env: Mapping[str, str]) -> None:
    names = [f"consumer-{number}" for number in range(1, options.consumers + 1)]
    api = Process("api", "gql", env, console.pass_on)
    consumers = [Process(name, "consumer", env, console.pass_on) for name in names]
    greeting = welcome(base_url(options.host, options.port), str(stack.data))
    keeper = Keeper(
        processes=[api, *consumers],
        console=console,
        address=(reachable(options.host), options.port),
        greet=lambda: console.say(greeting),
        look=revival_of(stack, console).look,
    )
    try:
        asyncio.run(keeper.run())
    finally:
        let_stop_signals_interrupt()  # the event loop has left the default ones behind


def let_stop_signals_interrupt() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)
