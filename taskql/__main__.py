"""The command line: `python -m taskql migrate | schema | check-deploy | dev | verify | token`.

What a user can do wrong ends in one clear line and exit code 1 or 2, never in a traceback. Each command
imports what it needs itself, so that none waits for another's libraries.
"""

import argparse
import inspect
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

MOST_CONSUMERS = 64
MOST_HOURS = 24 * 366
SCOPES = "tasks:read tasks:write"
"""What a token is for that says nothing else."""
UNCHECKED = 2
"""The exit code of a check that could not be made."""
INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def migrate(options: argparse.Namespace) -> int:
    """Bring the database that DATABASE_URL names up to date."""
    from taskql import bootstrap
    from taskql.logs import set_up_logging
    from taskql.settings import load_settings
    from taskql.startup import in_words

    with in_words("the database can't be migrated"):
        settings = load_settings()
        set_up_logging(settings.log_level, settings.taskql_log_format)
        bootstrap.migrate(settings)
    return 0


def schema(options: argparse.Namespace) -> int:
    """Print the GraphQL schema. It is the API's, which taskql does not import: so a process is asked."""
    return subprocess.run([sys.executable, "-m", "gql", "--print-schema"], check=False).returncode


def check_deploy(options: argparse.Namespace) -> int:
    """Tell what would break if the handlers of this environment met what DATABASE_URL stores.

    Looks at every task that is not terminal and at a sample of the newest results, and changes nothing.
    It needs DATABASE_URL, and TASK_HANDLERS where handlers are named there. Exit code 0: nothing would
    break; 1: what would is listed; 2: it could not be checked.
    """
    from taskql import bootstrap
    from taskql.errors import HandlerRefused, StartupError, Unavailable
    from taskql.settings import load_database_settings

    try:
        report = bootstrap.check_deploy(load_database_settings(), show_progress)
    except (HandlerRefused, StartupError, Unavailable) as error:
        return failed(f"the deployment can't be checked: {error}", UNCHECKED)
    print(*report.lines(), sep="\n")
    return 1 if report.findings else 0


def show_progress(done: int, total: int) -> None:
    """On a terminal, one line that changes; it is gone when all is done."""
    if sys.stderr.isatty():
        line = f"looked at {done} of {total} waiting tasks" if done < total else ""
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def dev(options: argparse.Namespace) -> int:
    """Run everything here: PostgreSQL, Valkey, SQS, migrations, the API and consumers."""
    from taskql.devstack.supervisor import Options, dev

    return dev(
        Options(
            host=options.host,
            port=options.port,
            data=options.data,
            consumers=options.consumers,
            services_only=options.services_only,
            end_with_parent=options.end_with_parent,
        )
    )


def verify(options: argparse.Namespace) -> int:
    """Run each kind that ships against a live deployment: a smoke test."""
    from taskql.client import Unusable
    from taskql.verify import verify

    try:
        return 0 if verify(options.url, options.token, options.timeout) else 1
    except Unusable as error:
        return failed(str(error))


def token(options: argparse.Namespace) -> int:
    """Print a token for development, signed with JWT_SECRET."""
    from taskql.settings import load_access_settings
    from taskql.startup import in_words
    from taskql.token import development_token

    with in_words("no token can be made"):
        lasts = timedelta(hours=options.hours)
        print(development_token(load_access_settings(), options.owner, options.scope.split(), lasts))
    return 0


class Parser(argparse.ArgumentParser):
    """Answers a wrong command line with one line, and not with all of the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"TaskQL: {message}\n")


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="python -m taskql", description=__doc__.splitlines()[0])
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    options = {dev: add_dev_options, verify: add_verify_options, token: add_token_options}
    for command in (migrate, schema, check_deploy, dev, verify, token):
        summary, *more = inspect.cleandoc(command.__doc__ or "").split("\n\n")
        name = command.__name__.replace("_", "-")
        sub = commands.add_parser(name, help=summary, description=" ".join([summary, *more]))
        sub.set_defaults(command=command)
        if command in options:
            options[command](sub)
    return top


def add_dev_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--host", default="127.0.0.1", help="where the API listens (127.0.0.1)")
    sub.add_argument("--port", type=port, default=8000, help="its port (8000)")
    sub.add_argument("--data", type=folder, default=Path(".taskql"), help="the services' data (.taskql)")
    sub.add_argument("--consumers", type=consumers, default=1, help="how many consumers to start (1)")
    sub.add_argument("--services-only", action="store_true", help="start no program; print the settings")
    sub.add_argument("--end-with-parent", action="store_true", help="stop when the parent process has ended")


def add_verify_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--url", default="http://localhost:8000", help="where it is (http://localhost:8000)")
    sub.add_argument("--token", help="sent as `Authorization: Bearer …`, also when a WebSocket opens")
    sub.add_argument("--timeout", type=seconds, default=60, help="for all of it, in seconds (60)")


def add_token_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--owner", required=True, help="whose tasks it is for")
    sub.add_argument("--scope", default=SCOPES, help=f"what it lets one do, with spaces between ({SCOPES})")
    sub.add_argument("--hours", type=hours, default=12, help="how long it counts (12)")


def port(text: str) -> int:
    return number(text, "a port", 1, 65_535)


def consumers(text: str) -> int:
    return number(text, "the number of consumers", 0, MOST_CONSUMERS)


def number(text: str, what: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{what} is a number from {least} to {most}, not {text!r}")
    return int(text)


def hours(text: str) -> int:
    return number(text, "the number of hours", 1, MOST_HOURS)


def seconds(text: str) -> int:
    return number(text, "the time limit in seconds", 1, 3600)


def folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("name a folder for the data, as in DATA=.taskql")
    return Path(text)


def failed(message: str, code: int = 1) -> int:
    print(f"TaskQL: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
