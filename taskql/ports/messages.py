"""The queues: what is sent to them, and what is received."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from taskql.ports.requests import Dispatch
from taskql.ports.upkeep import DeadLetter
from taskql.queues import Queue
from taskql.value import value_class

SQS_MAX_BATCH = 10
MAX_POLL_SECONDS = 20
POLLS_OF_A_QUEUE = 2
"""So many may be open at a time: the next is on its way while the last is answered."""


@value_class()
class Message:
    """A received message. `receive_count` is a hint, never the attempt.

    A dead letter that was put back carries the attempt at which its task FAILED.
    """

    body: str
    receipt: str
    queue: Queue
    sent_at: datetime
    receive_count: int
    failed_attempt: int | None = None
    ordering_group: str | None = None


class MessageSender(Protocol):
    """The sending half of the queues, with short time limits."""

    async def send(self, dispatches: Sequence[Dispatch]) -> list[Dispatch]:
        """Send up to ten to one queue; answers those accepted. Raises Unavailable if none was."""
        ...

    async def send_dead_letters(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]: ...

    async def is_empty(self, queue: Queue) -> bool:
        """Whether the queue holds no message, not even one that somebody is at work on."""
        ...


class MessageReceiver(Protocol):
    """The receiving half of the queues. Let an open poll finish: a cancelled one can swallow messages."""

    async def receive(self, queue: Queue, limit: int, wait: timedelta) -> list[Message]: ...

    async def acknowledge(self, message: Message) -> None: ...

    async def hide(self, message: Message, duration: timedelta) -> None:
        """Nobody else receives the message for `duration`, counted from now; zero releases it."""
        ...

    async def ping(self) -> None: ...
