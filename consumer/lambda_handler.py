"""`consumer.lambda_handler.handler`: what Lambda calls with the messages of SQS event source mappings.

The mappings need ReportBatchItemFailures: then Lambda deletes every message that the answer does not name, so
that one bad message of ten fails alone. What a container can't do, because it is frozen between invocations,
is upkeep: the API does it.

Invariant: what was not acknowledged is named in the answer, whatever went wrong with it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Protocol

from consumer.invocation import Invocation
from consumer.records import ForeignRecord, Record, message_from, queue_names, records_of
from consumer.time_limit import TimeLimit, warn_of_slow
from taskql.bootstrap import LambdaServices, open_lambda
from taskql.logs import set_up_logging
from taskql.ports import Message
from taskql.settings import Settings, load_settings

Answer = dict[str, list[dict[str, str]]]
Open = Callable[[Settings], AbstractAsyncContextManager[LambdaServices]]

log = logging.getLogger("consumer.lambda")


class Context(Protocol):
    """What we use of Lambda's context."""

    def get_remaining_time_in_millis(self) -> int: ...


class Container:
    """What outlives an invocation: one loop, and the services that are open on it."""

    def __init__(self, opening: Open = open_lambda) -> None:
        self._opening = opening
        self._runner = asyncio.Runner()
        self._opened: tuple[Settings, LambdaServices] | None = None
        self._open = AsyncExitStack()

    def handle(self, event: Any, seconds: float) -> Answer:
        """Deal with an event within so many seconds.

        Raises what keeps the services from opening: all messages come again, and the function's error count
        tells. The next invocation tries once more.
        """
        return self._runner.run(self._handle(event, seconds))

    def close(self) -> None:
        """For tests: Lambda ends a container without a word."""
        self._runner.run(self._open.aclose())
        self._runner.close()

    async def _handle(self, event: Any, seconds: float) -> Answer:
        limit = TimeLimit.after(seconds)
        settings, services = self._opened or await self._open_services(limit)
        records = records_of(event)
        if not records:
            log.warning("the event holds no record of SQS: there is nothing to do")
        messages = read(records, settings)
        acknowledged = await Invocation(settings, services, limit).run([m for m in messages if m])
        return report(
            record
            for record, message in zip(records, messages, strict=True)
            if message is None or message.receipt not in acknowledged
        )

    async def _open_services(self, limit: TimeLimit) -> tuple[Settings, LambdaServices]:
        settings = load_settings()
        set_up_logging(settings.log_level, settings.taskql_log_format)
        services = await self._open.enter_async_context(self._opening(settings))
        warn_of_slow(services.registry.values(), limit.longest)
        self._opened = settings, services
        log.info("ready: kinds %s", ", ".join(services.registry))
        return self._opened


def read(records: Sequence[Record], settings: Settings) -> list[Message | None]:
    """The messages of the records; None for one that can't be used, which goes back to its queue."""
    queues = queue_names(settings.queue_urls)
    messages: list[Message | None] = []
    for record in records:
        try:
            messages.append(message_from(record, queues))
        except ForeignRecord as error:
            log.error("record %s is not ours: %s", record["messageId"], error)
            messages.append(None)
    return messages


def report(failed: Iterable[Record]) -> Answer:
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}


container = Container()
"""At the top of the module because Lambda keeps nothing else from one invocation to the next."""


def handler(event: Any, context: Context) -> Answer:
    return container.handle(event, context.get_remaining_time_in_millis() / 1000)
