"""Dead letters reach the dead-letter queue from here, at least once."""

from taskql.ports import SQS_MAX_BATCH, DispatchStore, MessageSender


class DeadLetterRelay:
    """Sends dead letters as the relay sends tasks: a letter counts as sent only after SQS accepted it."""

    def __init__(self, store: DispatchStore, sender: MessageSender) -> None:
        self._store = store
        self._sender = sender

    async def step(self) -> None:
        while letters := await self._store.reserve_dead_letters(SQS_MAX_BATCH):
            accepted = await self._sender.send_dead_letters(letters)
            await self._store.mark_dead_letters_sent([letter.id for letter in accepted])
            if len(letters) < SQS_MAX_BATCH:
                return
