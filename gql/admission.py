"""How many may be connected to this process at a time, and how much each owner may have open.

Invariant: a counter moves when a connection or an operation begins and when it ends, and no more; nothing is
kept of an address or an owner with nothing open.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from gql.answers import Answer, error_answer
from gql.errors import Coded, Full, RateLimited, format_error
from gql.limits import Limits
from gql.negotiation import MediaType


class Places:
    """At most so many for each."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken: dict[str, int] = {}

    def take(self, who: str) -> bool:
        """Whether there was one left."""
        taken = self.taken.get(who, 0)
        if taken >= self.most:
            return False
        self.taken[who] = taken + 1
        return True

    def give_back(self, who: str) -> None:
        if self.taken[who] > 1:
            self.taken[who] -= 1
        else:
            del self.taken[who]


class Admission:
    """Lets in connections, which are WebSockets and event streams, and the operations that they carry."""

    def __init__(self, limits: Limits) -> None:
        self._most_connections = limits.connections
        self._most_here = limits.subscriptions_per_connection
        self.addresses = Places(limits.connections_per_address)
        self.owners = Places(limits.subscriptions_per_owner)
        self.connections = 0

    def connect(self, address: str) -> Coded | None:
        """Why not, else the place is taken until `disconnect`."""
        if self.connections >= self._most_connections:
            return Full(
                f"This server holds {self._most_connections:,} connections, the most it may; try again soon.",
                retryable=True,
            )
        if not self.addresses.take(address):
            return RateLimited(
                f"Your address holds {self.addresses.most:,} connections, the most it may; close some. One "
                "WebSocket carries many subscriptions."
            )
        self.connections += 1
        return None

    def disconnect(self, address: str) -> None:
        self.connections -= 1
        self.addresses.give_back(address)

    def begin(self, owner: str, open_here: int = 0) -> Coded | None:
        """Why not, else an operation's place is taken until `end`; so many are open on its connection."""
        if open_here >= self._most_here:
            return RateLimited(
                f"This connection runs {open_here:,} operations already; complete some, or open another one."
            )
        if not self.owners.take(owner):
            return RateLimited(
                f"You run {self.owners.most:,} operations on this server already; complete some. "
                "`taskUpdates` watches all of your tasks at once."
            )
        return None

    def end(self, owner: str) -> None:
        self.owners.give_back(owner)


class Admitted:
    """An event stream that has its places for as long as it is open; where there are none, the refusal."""

    __slots__ = ("_admission", "_owner", "_stream")

    def __init__(self, stream: ASGIApp, admission: Admission, owner: str) -> None:
        self._stream = stream
        self._admission = admission
        self._owner = owner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = address_of(scope)
        if refusal := self._admission.connect(address):
            await refused(refusal)(scope, receive, send)
            return
        try:
            if refusal := self._admission.begin(self._owner):
                await refused(refusal)(scope, receive, send)
                return
            try:
                await self._stream(scope, receive, send)
            finally:
                self._admission.end(self._owner)
        finally:
            self._admission.disconnect(address)


def refused(error: Coded) -> Answer:
    """In JSON, whatever was wanted: there will be no stream."""
    return error_answer([format_error(error)], MediaType.JSON)


def address_of(scope: Scope) -> str:
    """Where a connection comes from; over a Unix socket, all come from one place."""
    client = scope.get("client")
    return str(client[0]) if client else ""
