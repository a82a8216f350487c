"""Receives the messages of the queues, and gives them back or away.

Invariant: acknowledging and hiding never wait behind a long poll; they have a client of their own.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from taskql.adapters.aws import Refused
from taskql.adapters.sqs.client import SqsClient, open_client
from taskql.message import attempt_from
from taskql.ports import MAX_POLL_SECONDS, SQS_MAX_BATCH, Message
from taskql.queues import Queue

logger = logging.getLogger(__name__)

MAX_HIDE = timedelta(hours=12)
CONTROL_CONNECTIONS = 100
STALE = {"ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight"}
"""How SQS says that a message is gone, received anew, or hidden for as long as it can be."""


class SqsReceiver:
    """MessageReceiver over SQS; a received message stays hidden for `visibility`."""

    def __init__(
        self,
        queue_urls: Mapping[Queue, str],
        visibility: timedelta,
        *,
        polling: SqsClient,
        control: SqsClient,
    ) -> None:
        self._queue_urls = queue_urls
        self._visibility = visibility
        self._polling = polling
        self._control = control

    async def receive(self, queue: Queue, limit: int, wait: timedelta) -> list[Message]:
        """Up to `limit` messages, at most ten, as soon as there is one; none after `wait` (up to 20 s)."""
        answer = await self._polling.request(
            "receive_message",
            QueueUrl=self._queue_urls[queue],
            MaxNumberOfMessages=min(limit, SQS_MAX_BATCH),
            WaitTimeSeconds=min(whole_seconds(wait), MAX_POLL_SECONDS),
            VisibilityTimeout=whole_seconds(self._visibility),
            MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount", "MessageGroupId"],
            MessageAttributeNames=["attempt"],
        )
        return [message_from(queue, found) for found in answer.get("Messages", [])]

    async def acknowledge(self, message: Message) -> None:
        await self._dispose("delete_message", message)

    async def hide(self, message: Message, duration: timedelta) -> None:
        """Nobody else receives the message for `duration`, at most 12 hours; zero releases it."""
        seconds = whole_seconds(min(max(duration, timedelta(0)), MAX_HIDE))
        await self._dispose("change_message_visibility", message, VisibilityTimeout=seconds)

    async def ping(self) -> None:
        """Raises Unavailable unless SQS answers and has every queue."""
        await asyncio.gather(*map(self._control.ping, self._queue_urls.values()))

    async def _dispose(self, operation: str, message: Message, **arguments: Any) -> None:
        """A stale receipt is harmless: the lease in PostgreSQL decides what becomes of the task."""
        try:
            await self._control.request(
                operation,
                QueueUrl=self._queue_urls[message.queue],
                ReceiptHandle=message.receipt,
                **arguments,
            )
        except Refused as error:
            if error.code not in STALE:
                raise
            logger.debug("The message has moved on: %s", error)


def message_from(queue: Queue, found: Any) -> Message:
    sent_at = int(found["Attributes"]["SentTimestamp"]) / 1000
    return Message(
        body=found["Body"],
        receipt=found["ReceiptHandle"],
        queue=queue,
        sent_at=datetime.fromtimestamp(sent_at, UTC),
        receive_count=int(found["Attributes"]["ApproximateReceiveCount"]),
        failed_attempt=failed_attempt(found.get("MessageAttributes", {})),
        ordering_group=found["Attributes"].get("MessageGroupId"),
    )


def failed_attempt(attributes: Mapping[str, Any]) -> int | None:
    return attempt_from(attributes.get("attempt", {}).get("StringValue"))


def whole_seconds(duration: timedelta) -> int:
    """SQS counts in seconds; rounded up, so that a short wait does not become none."""
    return math.ceil(duration.total_seconds())


@asynccontextmanager
async def open_receiver(
    queue_urls: Mapping[Queue, str],
    visibility: timedelta,
    *,
    endpoint_url: str | None = None,
    region: str | None = None,
) -> AsyncIterator[SqsReceiver]:
    """A receiver with room for a long poll on each queue at a time, and a short one beside it."""
    longest_wait = timedelta(seconds=MAX_POLL_SECONDS)
    async with (
        open_client(
            endpoint_url=endpoint_url,
            region=region,
            connections=2 * len(queue_urls),
            longest_wait=longest_wait,
        ) as polling,
        open_client(endpoint_url=endpoint_url, region=region, connections=CONTROL_CONNECTIONS) as control,
    ):
        yield SqsReceiver(queue_urls, visibility, polling=polling, control=control)


@asynccontextmanager
async def open_control(
    queue_urls: Mapping[Queue, str],
    visibility: timedelta,
    *,
    endpoint_url: str | None = None,
    region: str | None = None,
) -> AsyncIterator[SqsReceiver]:
    """A receiver for whom Lambda polls: one client, to hide and to acknowledge what came."""
    async with open_client(endpoint_url=endpoint_url, region=region) as client:
        yield SqsReceiver(queue_urls, visibility, polling=client, control=client)
