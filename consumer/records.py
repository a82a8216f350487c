"""What Lambda hands over: the records of an event, as messages.

Invariant: a record is never dropped without a word: it becomes a message, or ForeignRecord says why not.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from taskql.message import attempt_from
from taskql.ports import Message
from taskql.queues import Queue

Record = Mapping[str, Any]


class ForeignRecord(ValueError):
    """The record is of a queue that is not ours, or none of SQS's at all."""


def records_of(event: Any) -> list[Record]:
    """The records of SQS that the event brings; a test event of the console brings none."""
    found = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(found, list):
        return []
    return [record for record in found if isinstance(record, dict) and record.get("messageId")]


def queue_names(queue_urls: Mapping[Queue, str]) -> dict[str, Queue]:
    """Each queue by its name, which ends its URL as well as its ARN."""
    return {url.rstrip("/").rpartition("/")[2]: queue for queue, url in queue_urls.items()}


def message_from(record: Record, queues: Mapping[str, Queue]) -> Message:
    """The message as a poll would have brought it. Raises ForeignRecord."""
    arn = str(record.get("eventSourceARN"))
    queue = queues.get(arn.rpartition(":")[2])
    if queue is None:
        raise ForeignRecord(
            f"it is of {arn}, and none of SQS_QUEUE_URL, SQS_HIGH_QUEUE_URL, SQS_LOW_QUEUE_URL and "
            "SQS_FIFO_QUEUE_URL names that queue"
        )
    try:
        attributes = record["attributes"]
        return Message(
            body=record["body"],
            receipt=record["receiptHandle"],
            queue=queue,
            sent_at=datetime.fromtimestamp(int(attributes["SentTimestamp"]) / 1000, UTC),
            receive_count=int(attributes["ApproximateReceiveCount"]),
            failed_attempt=failed_attempt(record.get("messageAttributes") or {}),
            ordering_group=attributes.get("MessageGroupId"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ForeignRecord(f"it is no record of SQS: {type(error).__name__} {error}") from None


def failed_attempt(attributes: Mapping[str, Any]) -> int | None:
    return attempt_from(attributes.get("attempt", {}).get("stringValue"))
