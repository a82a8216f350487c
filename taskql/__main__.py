"""The command line: `python -m taskql migrate | schema | dev`.

What a user can do wrong ends in one clear line and exit code 1 or 2, never in a traceback. Each command
imports what it needs itself, so that none waits for another's libraries.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

MOST_CONSUMERS = 64


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    code: int = options.command(options)
    return code


def migrate(options: argparse.Namespace) -> int:
    """Bring the database that DATABASE_URL names up to date."""
    from taskql import bootstrap
    from taskql.errors import TaskQLError
    from taskql.settings import load_settings

    try:
        bootstrap.migrate(load_settings())
    except TaskQLError as error:
        return failed(str(error))
    return 0


def schema(options: argparse.Namespace) -> int:
    """Print the GraphQL schema. It is the API's, which taskql does not import: so a process is asked."""
    return subprocess.run([sys.executable, "-m", "gql", "--print-schema"], check=False).returncode


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


class Parser(argparse.ArgumentParser):
    """Answers a wrong command line with one line, and not with all of the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"TaskQL: {message}\n")


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="python -m taskql", description=__doc__.splitlines()[0])
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (migrate, schema, dev):
        summary = (command.__doc__ or "").splitlines()[0]
        sub = commands.add_parser(command.__name__, help=summary, description=summary)
        sub.set_defaults(command=command)
        if command is dev:
            add_dev_options(sub)
    return top


def add_dev_options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--host", default="127.0.0.1", help="where the API listens (127.0.0.1)")
    sub.add_argument("--port", type=port, default=8000, help="its port (8000)")
    sub.add_argument("--data", type=folder, default=Path(".taskql"), help="the services' data (.taskql)")
    sub.add_argument("--consumers", type=consumers, default=1, help="how many consumers to start (1)")
    sub.add_argument("--services-only", action="store_true", help="start no program; print the settings")
    sub.add_argument("--end-with-parent", action="store_true", help="stop when the parent process has ended")


def port(text: str) -> int:
    return number(text, "a port", 1, 65_535)


def consumers(text: str) -> int:
    return number(text, "the number of consumers", 0, MOST_CONSUMERS)


def number(text: str, what: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"{what} is a number from {least} to {most}, not {text!r}")
    return int(text)


def folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("name a folder for the data, as in DATA=.taskql")
    return Path(text)


def failed(message: str) -> int:
    print(f"TaskQL: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
