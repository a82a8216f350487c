"""All loops of upkeep, run together."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from taskql.ports import DispatchStore, EventSink, MessageSender
from taskql.upkeep.dead_letters import DeadLetterRelay
from taskql.upkeep.pace import repeating
from taskql.upkeep.relay import Relay
from taskql.upkeep.rescuer import Expirer, Rescuer
from taskql.upkeep.results import ResultSweeper
from taskql.upkeep.retention import Retention
from taskql.upkeep.silence import SilentQueues

SWEEP_EVERY = timedelta(seconds=1)
ASK_EVERY = timedelta(seconds=5)
EXPIRE_EVERY = timedelta(milliseconds=500)
FORGET_EVERY = timedelta(minutes=1)
FORGET_ORDERINGS_EVERY = timedelta(hours=1)
ORDERINGS_KEPT = timedelta(days=1)


class Upkeep:
    """What every process does besides its own work."""

    def __init__(
        self,
        store: DispatchStore,
        sender: MessageSender,
        events: EventSink,
        resend_margin: timedelta,
        retention: timedelta | None,
        results: ResultSweeper,
    ) -> None:
        self.relay = Relay(store, sender)
        self._store = store
        self._rescuer = Rescuer(store, events, self.relay, resend_margin)
        self._silence = SilentQueues(store, sender, resend_margin)
        self._expirer = Expirer(store, events)
        self._dead_letters = DeadLetterRelay(store, sender)
        self._results = results
        self._retention = Retention(store, retention) if retention is not None else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Upkeep goes on in the background while the block runs."""
        async with AsyncExitStack() as stack:
            for name, step, every in self._loops():
                await stack.enter_async_context(repeating(name, step, every))
            yield

    async def _forget_orderings(self) -> None:
        await self._store.forget_orderings(ORDERINGS_KEPT)

    def _loops(self) -> Iterator[tuple[str, Callable[[], Awaitable[None]], timedelta]]:
        yield "relay", self.relay.run, SWEEP_EVERY
        yield "rescuer", self._rescuer.step, SWEEP_EVERY
        yield "silent queues", self._silence.step, ASK_EVERY
        yield "expirer", self._expirer.step, EXPIRE_EVERY
        yield "orderings", self._forget_orderings, FORGET_ORDERINGS_EVERY
        yield "dead letters", self._dead_letters.step, SWEEP_EVERY
        yield "discarded results", self._results.step, SWEEP_EVERY
        if self._retention is not None:
            yield "retention", self._retention.step, FORGET_EVERY
