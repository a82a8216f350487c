"""Starts a service again that has ended by itself, and says so."""

from collections import Counter
from collections.abc import Callable, Sequence

from taskql.devstack.errors import DevStackError
from taskql.devstack.server import Server

REVIVALS = 5


class Revival:
    """Looks after the services. One that ends again and again needs a person, so it is given up."""

    def __init__(self, servers: Sequence[Server], say: Callable[[str], None]) -> None:
        self._servers = servers
        self._say = say
        self._times: Counter[str] = Counter()

    def look(self) -> None:
        """Call this now and then, from the thread that started the services."""
        for server in self._servers:
            if not server.alive:
                self._revive(server)

    def _revive(self, server: Server) -> None:
        self._times[server.name] += 1
        times = self._times[server.name]
        if times > REVIVALS:
            raise DevStackError(f"{server.name} ended {times} times; its log says why: {server.log}")
        self._say(
            f"{server.name} has ended; starting it again ({times} of {REVIVALS}). Its log: {server.log}"
        )
        server.launch()
