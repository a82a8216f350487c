"""Receives the messages of the queues, and gives them back or away.

Invariant: acknowledging and hiding never wait behind a long poll; they have a client of their own.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from taskql.adapters.aws import Refused, bare_code
from taskql.adapters.sqs.client import SqsClient, open_client
from taskql.errors import Unavailable
from taskql.grouping import Grouped
from taskql.message import attempt_from
from taskql.ports import MAX_POLL_SECONDS, POLLS_OF_A_QUEUE, SQS_MAX_BATCH, Message
from taskql.queues import Queue

logger = logging.getLogger(__name__)

MAX_HIDE = timedelta(hours=12)
CONTROL_CONNECTIONS = 100
DELETES_AT_ONCE = 4
"""Requests to one queue; what comes meanwhile goes together."""
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
        self._acknowledgements = {
            queue: Grouped(partial(self._delete, url), at_once=DELETES_AT_ONCE, largest=SQS_MAX_BATCH)
            for queue, url in queue_urls.items()
        }

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
        """Together with others that come while requests are under way."""
        await self._acknowledgements[message.queue](message.receipt)

    async def hide(self, message: Message, duration: timedelta) -> None:
        """Nobody else receives the message for `duration`, at most 12 hours; zero releases it."""
        seconds = whole_seconds(min(max(duration, timedelta(0)), MAX_HIDE))
        try:
            await self._control.request(
                "change_message_visibility",
                QueueUrl=self._queue_urls[message.queue],
                ReceiptHandle=message.receipt,
                VisibilityTimeout=seconds,
            )
        except Refused as error:
            if error.code not in STALE:
                raise
            logger.debug("The message has moved on: %s", error)

    async def ping(self) -> None:
        """Raises Unavailable unless SQS answers and has every queue."""
        await asyncio.gather(*map(self._control.ping, self._queue_urls.values()))

    async def _delete(self, queue_url: str, receipts: Sequence[str]) -> list[Unavailable | None]:
        """What SQS has against each, and had still when it was asked once more."""
        refused = await self._refused(queue_url, receipts)
        if refused:
            with contextlib.suppress(Unavailable):  # then it stays as it was, and the others are deleted
                refused = await self._refused(queue_url, [*refused])
        return [refused.get(receipt) for receipt in receipts]

    async def _refused(self, queue_url: str, receipts: Sequence[str]) -> dict[str, Unavailable]:
        """Delete what can be, and tell of the rest. A stale receipt is harmless: the lease is what counts."""
        entries = [{"Id": str(index), "ReceiptHandle": receipt} for index, receipt in enumerate(receipts)]
        answer = await self._control.request("delete_message_batch", QueueUrl=queue_url, Entries=entries)
        return {
            receipts[int(failure["Id"])]: refusal(failure)
            for failure in answer.get("Failed", [])
            if bare_code(str(failure.get("Code"))) not in STALE
        }


def refusal(failure: Mapping[str, Any]) -> Unavailable:
    return Unavailable(f"SQS did not delete a message: {failure.get('Code')}: {failure.get('Message')}")


def message_from(queue: Queue, found: Any) -> Message:
    known = found["Attributes"]
    return Message(
        body=found["Body"],
        receipt=found["ReceiptHandle"],
        queue=queue,
        sent_at=datetime.fromtimestamp(int(known["SentTimestamp"]) / 1000, UTC),
        receive_count=int(known["ApproximateReceiveCount"]),
        failed_attempt=failed_attempt(found["MessageAttributes"]) if "MessageAttributes" in found else None,
        ordering_group=known.get("MessageGroupId"),
    )


def failed_attempt(attributes: Mapping[str, Any]) -> int | None:
    return attempt_from(attributes.get("attempt", {}).get("StringValue"))


def whole_seconds(duration: timedelta) -> int:
    """SQS counts in seconds; rounded up, so that a short wait does not become none."""
    return math.ceil(duration.total_seconds())


@contextlib.asynccontextmanager
async def open_receiver(
    queue_urls: Mapping[Queue, str],
    visibility: timedelta,
    *,
    endpoint_url: str | None = None,
    region: str | None = None,
    lean: bool = True,
) -> AsyncIterator[SqsReceiver]:
    """A receiver with room for the polls of each queue, however long, and for short requests beside them."""
    longest_wait = timedelta(seconds=MAX_POLL_SECONDS)
    async with (
        open_client(
            endpoint_url=endpoint_url,
            region=region,
            connections=POLLS_OF_A_QUEUE * len(queue_urls),
            longest_wait=longest_wait,
            lean=lean,
        ) as polling,
        open_client(
            endpoint_url=endpoint_url, region=region, connections=CONTROL_CONNECTIONS, lean=lean
        ) as control,
    ):
        yield SqsReceiver(queue_urls, visibility, polling=polling, control=control)


@contextlib.asynccontextmanager
async def open_control(
    queue_urls: Mapping[Queue, str],
    visibility: timedelta,
    *,
    endpoint_url: str | None = None,
    region: str | None = None,
    lean: bool = True,
) -> AsyncIterator[SqsReceiver]:
    """A receiver for whom Lambda polls: one client, to hide and to acknowledge what came."""
    async with open_client(endpoint_url=endpoint_url, region=region, lean=lean) as client:
        yield SqsReceiver(queue_urls, visibility, polling=client, control=client)
