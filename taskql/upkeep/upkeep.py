"""All loops of upkeep, run together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from taskql.ports import DispatchStore, EventSink, MessageSender
from taskql.upkeep.dead_letters import DeadLetterRelay
from taskql.upkeep.pace import repeating
from taskql.upkeep.relay import Relay
from taskql.upkeep.rescuer import Rescuer

SWEEP_EVERY = timedelta(seconds=1)


class Upkeep:
    """What every process does besides its own work."""

    def __init__(
        self, store: DispatchStore, sender: MessageSender, events: EventSink, resend_margin: timedelta
    ) -> None:
        self.relay = Relay(store, sender)
        self._rescuer = Rescuer(store, events, self.relay, resend_margin)
        self._dead_letters = DeadLetterRelay(store, sender)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Upkeep goes on in the background while the block runs."""
        async with (
            repeating("relay", self.relay.run, SWEEP_EVERY),
            repeating("rescuer", self._rescuer.step, SWEEP_EVERY),
            repeating("dead letters", self._dead_letters.step, SWEEP_EVERY),
        ):
            yield
