"""Sends tasks to their queues and dead letters to the dead-letter queue.

Invariant: what is answered was accepted by SQS; anything else may be sent again, since consumers take
repeats for what they are.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from taskql.adapters.sqs.client import SqsClient, open_client
from taskql.errors import Unavailable
from taskql.message import encode
from taskql.ports import DeadLetter, Dispatch
from taskql.queues import Queue

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 1024 * 1024
MAX_REASON_BYTES = 2_000
# SQS counts the attributes' names, types and values in; ours take less than this besides the reason.
ATTRIBUTES_BYTES = 500
COUNTS = [
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
]
UNSENDABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What SQS refuses in a body or an attribute: the characters that XML 1.0 has not."""


class SqsSender:
    """MessageSender over SQS. For each queue, `queue_urls` says where its tasks go, `dead_letter_urls` where
    its dead letters.
    """

    def __init__(
        self, client: SqsClient, queue_urls: Mapping[Queue, str], dead_letter_urls: Mapping[Queue, str]
    ) -> None:
        self._client = client
        self._queue_urls = queue_urls
        self._dead_letter_urls = dead_letter_urls

    async def send(self, dispatches: Sequence[Dispatch]) -> list[Dispatch]:
        """Send up to ten to one queue; answers those accepted. Raises Unavailable if none was."""
        if not dispatches:
            return []
        [queue] = {dispatch.queue for dispatch in dispatches}
        entries = [
            {"Id": str(index), "MessageBody": encode(dispatch.task_id), **order(dispatch)}
            for index, dispatch in enumerate(dispatches)
        ]
        answer = await self._client.request(
            "send_message_batch", QueueUrl=self._queue_urls[queue], Entries=entries
        )
        if failures := answer.get("Failed", []):
            account = f"{failures[0].get('Code')}: {failures[0].get('Message')}"
            if len(failures) == len(dispatches):
                raise Unavailable(f"SQS accepted no message for the queue {queue!r}: {account}")
            logger.warning("SQS refused %d of %d messages: %s", len(failures), len(dispatches), account)
        accepted = {entry["Id"] for entry in answer.get("Successful", [])}
        return [dispatch for index, dispatch in enumerate(dispatches) if str(index) in accepted]

    async def send_dead_letters(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Send each in a request of its own: together, large ones would exceed what a batch may hold."""
        outcomes = await asyncio.gather(*map(self._send_letter, letters), return_exceptions=True)
        failures = [outcome for outcome in outcomes if outcome is not None]
        if failures and len(failures) == len(letters):
            raise failures[0]
        for failure in failures:
            logger.warning("A dead letter was not accepted: %s", failure)
        return [letter for letter, outcome in zip(letters, outcomes, strict=True) if outcome is None]

    async def is_empty(self, queue: Queue) -> bool:
        """Whether the queue holds no message, hidden and delayed ones included."""
        answer = await self._client.request(
            "get_queue_attributes", QueueUrl=self._queue_urls[queue], AttributeNames=COUNTS
        )
        return not any(int(answer["Attributes"][name]) for name in COUNTS)

    async def ping(self) -> None:
        """Raises Unavailable unless SQS answers and has every queue that tasks are dispatched to."""
        await asyncio.gather(*map(self._client.ping, self._queue_urls.values()))

    async def _send_letter(self, letter: DeadLetter) -> None:
        await self._client.request(
            "send_message",
            QueueUrl=self._dead_letter_urls[letter.queue],
            MessageBody=sendable(letter.body or "", MAX_MESSAGE_BYTES - MAX_REASON_BYTES - ATTRIBUTES_BYTES),
            MessageAttributes=attributes(letter),
            **burial(letter),
        )


def order(dispatch: Dispatch) -> dict[str, str]:
    """What a FIFO queue wants to know of a task; each sending is a message of its own."""
    if dispatch.queue is not Queue.FIFO:
        return {}
    assert dispatch.ordering_group is not None
    sending = (dispatch.task_id, dispatch.ordering_number, dispatch.attempt, dispatch.sends)
    return {
        "MessageGroupId": dispatch.ordering_group,
        "MessageDeduplicationId": ".".join(map(str, sending)),
    }


def burial(letter: DeadLetter) -> dict[str, str]:
    """What a FIFO queue wants to know of a dead letter: none waits for another."""
    if letter.queue is not Queue.FIFO:
        return {}
    return {"MessageGroupId": str(letter.id), "MessageDeduplicationId": str(letter.id)}


def attributes(letter: DeadLetter) -> dict[str, Any]:
    """What is known of the letter; AWS has no empty attributes."""
    found = {"reason": {"DataType": "String", "StringValue": sendable(letter.reason, MAX_REASON_BYTES)}}
    if letter.task_id is not None:
        found["task_id"] = {"DataType": "String", "StringValue": str(letter.task_id)}
    if letter.attempt is not None:
        found["attempt"] = {"DataType": "Number", "StringValue": str(letter.attempt)}
    return found


def sendable(text: str, max_bytes: int) -> str:
    """The text as SQS takes it: allowed characters only, not too long, and not empty."""
    cleaned = UNSENDABLE.sub("\ufffd", text).encode()[:max_bytes].decode(errors="ignore")
    return cleaned or "(empty)"


@asynccontextmanager
async def open_sender(
    queue_urls: Mapping[Queue, str],
    dead_letter_urls: Mapping[Queue, str],
    *,
    endpoint_url: str | None = None,
    region: str | None = None,
    lean: bool = True,
) -> AsyncIterator[SqsSender]:
    async with open_client(endpoint_url=endpoint_url, region=region, lean=lean) as client:
        yield SqsSender(client, queue_urls, dead_letter_urls)
