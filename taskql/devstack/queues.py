"""What TaskQL needs of AWS on the emulator: queues, a topic, a bucket. Making them again changes nothing.

They are requests in plain HTTP, which the emulator makes to itself before it serves anybody.
"""

import json
from typing import TypedDict
from urllib.parse import urlencode

REGION = "us-east-1"
ACCOUNT = "000000000000"
KEY = "test"

BUCKET = "taskql-results"
TOPIC = "taskql-dead-letters"
TOPIC_ARN = f"arn:aws:sns:{REGION}:{ACCOUNT}:{TOPIC}"
# Setting -> (queue, its dead-letter queue); the dead-letter queues come first, for the others name them.
QUEUES: dict[str, tuple[str, str | None]] = {
    "SQS_DLQ_URL": ("taskql-dlq", None),
    "SQS_FIFO_DLQ_URL": ("taskql-dlq.fifo", None),
    "SQS_QUEUE_URL": ("taskql", "taskql-dlq"),
    "SQS_HIGH_QUEUE_URL": ("taskql-high", "taskql-dlq"),
    "SQS_LOW_QUEUE_URL": ("taskql-low", "taskql-dlq"),
    "SQS_FIFO_QUEUE_URL": ("taskql.fifo", "taskql-dlq.fifo"),
}
VISIBILITY_SECONDS = 60
MAX_RECEIVES = 1_000  # a backstop far above what we plan: dead letters are our own decision


class Request(TypedDict):
    method: str
    path: str
    headers: dict[str, str]
    body: str


def requests(port: int) -> list[Request]:
    queues = [each for name, dead_letters in QUEUES.values() for each in _queue(port, name, dead_letters)]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    topic = urlencode({"Action": "CreateTopic", "Name": TOPIC, "Version": "2010-03-31"})
    return [*queues, _request("sns", "POST", "/", form, topic), _request("s3", "PUT", f"/{BUCKET}", {}, "")]


def url(port: int, name: str) -> str:
    return f"http://127.0.0.1:{port}/{ACCOUNT}/{name}"


def _queue(port: int, name: str, dead_letters: str | None) -> list[Request]:
    attributes = {"VisibilityTimeout": str(VISIBILITY_SECONDS)}
    if dead_letters is not None:
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{dead_letters}"
        attributes["RedrivePolicy"] = json.dumps(
            {"deadLetterTargetArn": arn, "maxReceiveCount": MAX_RECEIVES}
        )
    kind = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
    return [
        _sqs("CreateQueue", {"QueueName": name, "Attributes": kind}),
        # Set apart: a queue of an earlier version keeps its messages and gets today's attributes.
        _sqs("SetQueueAttributes", {"QueueUrl": url(port, name), "Attributes": attributes}),
    ]


def _sqs(action: str, body: dict[str, object]) -> Request:
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{action}"}
    return _request("sqs", "POST", "/", headers, json.dumps(body))


def _request(service: str, method: str, path: str, headers: dict[str, str], body: str) -> Request:
    scope = f"{KEY}/20260101/{REGION}/{service}/aws4_request"
    credential = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"  # not checked
    return Request(method=method, path=path, headers=headers | {"Authorization": credential}, body=body)
