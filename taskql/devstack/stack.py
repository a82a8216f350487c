"""The three servers of one data folder, as one thing.

Invariant: they end with the process that started them, however it ends, and a later start finds the data.
"""

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from taskql.devstack import place
from taskql.devstack.folder import Folder
from taskql.devstack.postgres import Postgres
from taskql.devstack.server import Server
from taskql.devstack.sqs import Sqs
from taskql.devstack.valkey import Valkey

PATIENCE_SECONDS = 10.0


class DevStack:
    """PostgreSQL, Valkey and an SQS emulator on this machine, for this process.

    Start it in a thread that lives as long as the process (the main thread): the kernel ends the servers
    when the thread that started them ends. `patience`: how long to wait for another stack's end.
    """

    postgres: Postgres
    valkey: Valkey
    sqs: Sqs

    def __init__(
        self,
        data: Path | str = Path(".taskql"),
        say: Callable[[str], None] = print,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.data = Path(data).resolve()
        self._say = say
        self._patience = patience
        self._folder: Folder | None = None
        self._servers: tuple[Server, ...] = ()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def env(self) -> dict[str, str]:
        """The settings with which TaskQL finds the servers."""
        return {name: value for server in self._servers for name, value in server.env.items()}

    def start(self) -> None:
        """Return when all three serve; raise DevStackError, and leave nothing running, if they can't."""
        started = time.monotonic()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        self._say(f"PostgreSQL, Valkey and SQS are ready after {time.monotonic() - started:.1f} s")

    def stop(self) -> None:
        """End them gracefully, within a few seconds; what doesn't obey is killed."""
        for server in self._servers:
            server.ask_to_stop()
        for server in self._servers:
            server.await_stopped()
        if self._folder is not None:
            self._folder.leave()

    def _start(self) -> None:
        where = place.find(self.data, self._say)
        self.data = where.data
        self._folder = Folder(where.data)
        self._folder.occupy(where.identity, self._patience)
        self.postgres = Postgres(self._folder, where.identity)
        self.valkey = Valkey(self._folder)
        self.sqs = Sqs(self._folder)
        self._servers = (self.sqs, self.valkey, self.postgres)  # the slowest first
        for server in self._servers:
            server.launch()
        for server in self._servers:
            server.await_ready()
