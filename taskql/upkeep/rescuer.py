"""The rescuer gives back what was lost: attempts whose worker died, and messages that a queue forgot.

The expirer gives up what nobody started in time.
"""

from datetime import timedelta

from taskql.ports import DispatchStore, EventSink
from taskql.upkeep.relay import Relay

RESCUE_ROWS = 100
RESENDS_AT_ONCE = 100
EXPIRE_ROWS = 500


class Rescuer:
    """One step a second keeps resends below 100/s, however much a queue seems to have lost."""

    def __init__(self, store: DispatchStore, events: EventSink, relay: Relay, margin: timedelta) -> None:
        self._store = store
        self._events = events
        self._relay = relay
        self._margin = margin

    async def step(self) -> None:
        rescued = await self._store.rescue_expired(RESCUE_ROWS)
        for event in rescued:
            self._events.publish(event)
        resent = await self._store.resend_lost(self._margin, RESENDS_AT_ONCE)
        if rescued or resent:
            self._relay.wake()


class Expirer:
    """Ends tasks that have not started by the moment that their client named."""

    def __init__(self, store: DispatchStore, events: EventSink) -> None:
        self._store = store
        self._events = events

    async def step(self) -> None:
        while expired := await self._store.expire(EXPIRE_ROWS):
            for event in expired:
                self._events.publish(event)
            if len(expired) < EXPIRE_ROWS:
                return
