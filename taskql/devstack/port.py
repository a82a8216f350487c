"""Is a port free, and if not, who has it? Asked first of all, so that nothing has to be undone."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

LISTENING = "0A"  # the state of a listening socket in /proc/net/tcp


class PortError(Exception):
    """The API can't listen there. The message says what to do."""


def require_free_port(host: str, port: int) -> None:
    """Return if the API could listen on this address now."""
    try:
        listen_briefly(host, port)
    except socket.gaierror:
        raise PortError(
            f"{host} is no address; listen on this machine alone: make run HOST=127.0.0.1"
        ) from None
    except OSError as error:
        raise PortError(explain(error, host, port)) from None


def explain(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            owner = owner_of(port)
            by = f" by {owner}" if owner else ""
            return f"port {port} is in use{by}; choose another: make run PORT={next_free_port(host, port)}"
        case errno.EACCES:
            return f"port {port} is for root alone; choose another: make run PORT=8000"
        case errno.EADDRNOTAVAIL:
            return f"{host} is not this machine's; listen on this machine alone: make run HOST=127.0.0.1"
        case _:
            return f"can't listen on {host}, port {port}: {os.strerror(error.errno or 0)}"


def listen_briefly(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections are no obstacle
        probe.bind(address)
        probe.listen()


def next_free_port(host: str, taken: int) -> int:
    for port in range(taken + 1, min(taken + 100, 65_536)):
        with suppress(OSError):
            listen_briefly(host, port)
            return port
    return 8000


def owner_of(port: int) -> str | None:
    """The name and id of the process that listens on a port, if we may know it."""
    sockets = {f"socket:[{inode}]" for inode in listening_inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is somebody else's
            if any(str(each.readlink()) in sockets for each in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return None


def listening_inodes(port: int) -> Iterator[str]:
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == LISTENING and int(local.rpartition(":")[2], 16) == port:
                    yield rest[5]
