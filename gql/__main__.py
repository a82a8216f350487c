"""`python -m gql`: the API, as one process or as WORKERS of them, against services that are set from outside.

Exit code 0 after SIGTERM or SIGINT, 1 with a line that says why where it can't start.
"""

import argparse
import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn
import uvloop

from gql.app import Api
from gql.authentication import authenticator_of, open_keys
from gql.limits import Limits
from gql.origins import Origins
from gql.schema import print_sdl
from gql.serving import bound_buffers, config_of
from gql.trusted import read_folder
from gql.watch_tokens import WatchTokens
from gql.workers import die_with, serve_together
from taskql.access import is_loopback
from taskql.bootstrap import open_api
from taskql.errors import StartupError
from taskql.logs import set_up_logging
from taskql.registry import load_registry
from taskql.settings import Settings, load_handler_modules, load_settings
from taskql.startup import in_words

SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger("gql")


def main() -> int:
    parser = argparse.ArgumentParser("python -m gql", description="Serve TaskQL's API.")
    parser.add_argument("--print-schema", action="store_true", help="print the schema and exit")
    # For WORKERS above 1: the socket that this process shares with others, and who started it.
    parser.add_argument("--listener", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.print_schema:
        with in_words("the schema can't be printed"):
            sys.stdout.write(print_sdl(load_registry(load_handler_modules())))
    else:
        with in_words("the API can't start"):
            settings = load_settings()
            set_up_logging(settings.log_level, settings.taskql_log_format)
            if arguments.listener is None:
                serve(settings)
            else:
                die_with(arguments.parent)
                serve_on(socket.socket(fileno=arguments.listener), settings)
    return 0


def serve(settings: Settings) -> None:
    """Serve until a signal comes."""
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as listener:
        take_port(listener, settings.host, settings.port)
        say_who_is_let_in(settings, listener)
        if settings.workers == 1:
            serve_on(listener, settings)
        else:
            asyncio.run(serve_together(listener, settings.workers))


def serve_on(listener: socket.socket, settings: Settings) -> None:
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        suppress(asyncio.CancelledError),  # the signal came while we were starting
    ):
        runner.run(run(settings, listener))


def take_port(listener: socket.socket, host: str, port: int) -> None:
    """Before anything is opened; connections are refused until we can answer them."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound_buffers(listener)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise StartupError(
            f"Can't listen on {host}:{port}: {error.strerror}. Set PORT or HOST to another."
        ) from None


def say_who_is_let_in(settings: Settings, listener: socket.socket) -> None:
    """Without authentication: nobody from elsewhere, unless somebody has said that this is meant."""
    if settings.auth != "none":
        logger.info("AUTH=jwt: a token is needed, signed by %s", " or ".join(settings.algorithms))
        return
    if not is_loopback(listener.getsockname()[0]) and settings.is_for_this_machine:
        raise StartupError(
            f"AUTH=none lets everybody in, so it listens on this machine alone, not on {settings.host}. Set "
            "AUTH=jwt, or HOST=127.0.0.1; or TASKQL_ALLOW_UNAUTHENTICATED=on, if what is in front keeps "
            "others out."
        )
    logger.warning("AUTH=none: whoever reaches %s may see and do everything", settings.host)


async def run(settings: Settings, listener: socket.socket) -> None:
    starting = asyncio.current_task()
    assert starting is not None
    on_signal(lambda _: starting.cancel())
    async with open_keys(settings) as keys, open_api(settings) as services:
        watch_tokens = WatchTokens(services.secrets.secret)
        authenticator = authenticator_of(settings, keys, watch_tokens)
        trusted = settings.taskql_trusted_documents
        api = Api(
            services,
            authenticator,
            watch_tokens,
            Origins(settings.cors_origins, here_only=settings.is_for_this_machine),
            Limits.of(settings),
            read_folder(trusted) if trusted else None,
        )
        server = Server(config_of(api.app, settings), before_shutdown=api.go_away)
        on_signal(lambda number: server.handle_exit(number, None))
        await server.serve([listener])
    logger.info("stopped")


def on_signal(act: Callable[[int], object]) -> None:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, act, number)


class Server(uvicorn.Server):
    """uvicorn's server, which ends long streams before it waits for requests, and leaves signals to us."""

    def __init__(self, config: uvicorn.Config, before_shutdown: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._before_shutdown = before_shutdown

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn would raise a signal again after its shutdown, and the exit code would not be 0."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        logger.info("serving http://%s:%d/graphql", self.config.host, self.config.port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._before_shutdown()
        await super().shutdown(sockets)


if __name__ == "__main__":
    sys.exit(main())
