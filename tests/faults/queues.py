"""A deployment's queues as an operator reaches them: directly, past the proxy."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from taskql.queues import Queue
from tests.deployment import Deployment
from tests.faults.evidence import DeadMessage

AWAY = (BotoCoreError, ClientError)
"""What boto3 raises while SQS is away, or back without its queues."""
HIDDEN_SECONDS = 600
SETTINGS: Mapping[Queue, str] = {
    Queue.HIGH: "SQS_HIGH_QUEUE_URL",
    Queue.NORMAL: "SQS_QUEUE_URL",
    Queue.LOW: "SQS_LOW_QUEUE_URL",
    Queue.FIFO: "SQS_FIFO_QUEUE_URL",
}
DEAD_LETTERS = ("SQS_DLQ_URL", "SQS_FIFO_DLQ_URL")
UNFINISHED = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]


class Queues:
    """Its methods block."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def send(self, body: str, queue: Queue, attributes: Any = None, group: str | None = None) -> None:
        """Put a message into a queue for tasks; into the FIFO one as part of `group`, or alone."""
        single = uuid4().hex
        order = {"MessageGroupId": group or single, "MessageDeduplicationId": single}
        self._sqs.send_message(
            QueueUrl=self._url(queue),
            MessageBody=body,
            MessageAttributes=attributes or {},
            **(order if queue is Queue.FIFO else {}),
        )

    def purge(self) -> None:
        """Of all queues for tasks."""
        for queue in Queue:
            self._sqs.purge_queue(QueueUrl=self._url(queue))

    def put_back(self, letter: DeadMessage, queue: Queue) -> None:
        """Send a dead letter to a queue for tasks, attributes and all."""
        strings = {"task_id": letter.task_id, "reason": letter.reason}
        attributes = {
            name: {"DataType": "String", "StringValue": value} for name, value in strings.items() if value
        }
        if letter.attempt is not None:
            attributes["attempt"] = {"DataType": "Number", "StringValue": str(letter.attempt)}
        self.send(letter.body, queue, attributes)

    def is_empty(self) -> bool:
        """Whether nothing is left in the queues for tasks, what is with consumers included."""
        return all(self._count(queue) == 0 for queue in Queue)

    def peek(self) -> list[DeadMessage]:
        """Some dead letters, which stay where they are."""
        return [letter for setting in DEAD_LETTERS for letter in self._dead(setting, hidden_seconds=0)]

    def dead_messages(self) -> list[DeadMessage]:
        """All that the dead-letter queues hold; nobody receives them for a while then."""
        found: list[DeadMessage] = []
        for setting in DEAD_LETTERS:
            while some := self._dead(setting, HIDDEN_SECONDS):
                found += some
        return found

    def _dead(self, setting: str, hidden_seconds: int) -> list[DeadMessage]:
        answer = self._sqs.receive_message(
            QueueUrl=self._deployment.env[setting],
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            VisibilityTimeout=hidden_seconds,
        )
        ordered = setting == "SQS_FIFO_DLQ_URL"
        return [dead_message(message, ordered) for message in answer.get("Messages", [])]

    def _count(self, queue: Queue) -> int:
        found = self._sqs.get_queue_attributes(QueueUrl=self._url(queue), AttributeNames=UNFINISHED)
        return sum(int(found["Attributes"][name]) for name in UNFINISHED)

    def _url(self, queue: Queue) -> str:
        return self._deployment.env[SETTINGS[queue]]

    @property
    def _sqs(self) -> Any:
        return self._deployment.sqs


def dead_message(message: Any, ordered: bool) -> DeadMessage:
    attributes = message.get("MessageAttributes", {})
    task_id, attempt, reason = (
        attributes.get(name, {}).get("StringValue") for name in ("task_id", "attempt", "reason")
    )
    return DeadMessage(task_id, int(attempt) if attempt else None, reason, message["Body"], ordered)
