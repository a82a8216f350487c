"""A deployment's two queues as an operator reaches them: directly, past the proxy."""

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.deployment import Deployment
from tests.faults.evidence import DeadMessage

AWAY = (BotoCoreError, ClientError)
"""What boto3 raises while SQS is away, or back without its queues."""
HIDDEN_SECONDS = 600
UNFINISHED = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]


class Queues:
    """Its methods block."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def send(self, body: str, attributes: Any = None) -> None:
        """Put a message into the main queue."""
        self._sqs.send_message(
            QueueUrl=self._deployment.env["SQS_QUEUE_URL"],
            MessageBody=body,
            MessageAttributes=attributes or {},
        )

    def put_back(self, letter: DeadMessage) -> None:
        """Send a dead letter to the main queue, attributes and all."""
        strings = {"task_id": letter.task_id, "reason": letter.reason}
        attributes = {
            name: {"DataType": "String", "StringValue": value} for name, value in strings.items() if value
        }
        if letter.attempt is not None:
            attributes["attempt"] = {"DataType": "Number", "StringValue": str(letter.attempt)}
        self.send(letter.body, attributes)

    def is_empty(self) -> bool:
        """Whether nothing is left in the main queue, what is with consumers included."""
        url = self._deployment.env["SQS_QUEUE_URL"]
        counts = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=UNFINISHED)["Attributes"]
        return all(int(counts[name]) == 0 for name in UNFINISHED)

    def peek(self) -> list[DeadMessage]:
        """Some dead letters, which stay where they are."""
        return self._dead(hidden_seconds=0)

    def dead_messages(self) -> list[DeadMessage]:
        """All that the dead-letter queue holds; nobody receives them for a while then."""
        found: list[DeadMessage] = []
        while some := self._dead(HIDDEN_SECONDS):
            found += some
        return found

    def _dead(self, hidden_seconds: int) -> list[DeadMessage]:
        answer = self._sqs.receive_message(
            QueueUrl=self._deployment.env["SQS_DLQ_URL"],
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            VisibilityTimeout=hidden_seconds,
        )
        return [dead_message(message) for message in answer.get("Messages", [])]

    @property
    def _sqs(self) -> Any:
        return self._deployment.sqs


def dead_message(message: Any) -> DeadMessage:
    attributes = message.get("MessageAttributes", {})
    task_id, attempt, reason = (
        attributes.get(name, {}).get("StringValue") for name in ("task_id", "attempt", "reason")
    )
    return DeadMessage(task_id, int(attempt) if attempt else None, reason, message["Body"])
