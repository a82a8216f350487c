"""How far a queue has been delivered, where nobody who polls it tells: behind Lambda, SQS itself polls.

A queue that is empty has delivered all that was sent to it before it was asked.
"""

from datetime import UTC, datetime, timedelta

from taskql.ports import DispatchStore, MessageSender


class SilentQueues:
    """Asks the queues whose watermark stands still while tasks wait that were sent to them."""

    def __init__(self, store: DispatchStore, sender: MessageSender, margin: timedelta) -> None:
        self._store = store
        self._sender = sender
        self._margin = margin

    async def step(self) -> None:
        for queue in await self._store.silent_queues(self._margin):
            asked_at = datetime.now(UTC)
            if await self._sender.is_empty(queue):
                await self._store.raise_watermark(queue, asked_at)
