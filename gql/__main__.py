"""`python -m gql`: the API as one process, against services that the environment names.

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
from gql.request import MAX_REQUEST_BYTES
from gql.schema import print_sdl
from taskql.bootstrap import open_api
from taskql.errors import HandlerRefused, StartupError
from taskql.registry import load_registry
from taskql.settings import Settings, load_settings

DRAIN_SECONDS = 8
SIGNALS = (signal.SIGTERM, signal.SIGINT)

logger = logging.getLogger("gql")


def main() -> int:
    parser = argparse.ArgumentParser("python -m gql", description="Serve TaskQL's API.")
    parser.add_argument("--print-schema", action="store_true", help="print the schema and exit")
    arguments = parser.parse_args()
    try:
        settings = load_settings()
        if arguments.print_schema:
            sys.stdout.write(print_sdl(load_registry(settings.handler_modules)))
        else:
            log_to_stderr(settings.log_level)
            serve(settings)
    except (StartupError, HandlerRefused) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def log_to_stderr(level: str) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level=level.upper())


def serve(settings: Settings) -> None:
    """Serve until a signal comes."""
    with (
        bound_socket(settings.host, settings.port) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        suppress(asyncio.CancelledError),  # the signal came while we were starting
    ):
        runner.run(run(settings, listener))


def bound_socket(host: str, port: int) -> socket.socket:
    """Take the port before anything is opened; connections are accepted once we can answer them."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        reason = error.strerror or error
        raise StartupError(f"Can't listen on {host}:{port}: {reason}. Set HOST and PORT.") from None
    return listener


async def run(settings: Settings, listener: socket.socket) -> None:
    starting = asyncio.current_task()
    assert starting is not None
    on_signal(lambda _: starting.cancel())
    async with open_api(settings) as services:
        api = Api(services)
        server = Server(config_of(api, settings), before_shutdown=api.go_away)
        on_signal(lambda number: server.handle_exit(number, None))
        logger.info("serving http://%s:%d/graphql", settings.host, settings.port)
        await server.serve([listener])
    logger.info("stopped")


def on_signal(act: Callable[[int], object]) -> None:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, act, number)


def config_of(api: Api, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        api.app,
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=MAX_REQUEST_BYTES,
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        log_level="debug" if settings.log_level == "debug" else "warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


class Server(uvicorn.Server):
    """uvicorn's server, which ends long streams before it waits for requests, and leaves signals to us."""

    def __init__(self, config: uvicorn.Config, before_shutdown: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._before_shutdown = before_shutdown

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn would raise a signal again after its shutdown, and the exit code would not be 0."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._before_shutdown()
        await super().shutdown(sockets)


if __name__ == "__main__":
    sys.exit(main())
