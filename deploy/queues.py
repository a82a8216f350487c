"""Makes TaskQL's queues, and the bucket that RESULTS_BUCKET names; ministack runs this when it has started
(docker-compose.yml).

Making them again changes nothing. AWS_ENDPOINT_URL and the credentials come from the environment.
"""

import json
import os
from typing import Any

import boto3

QUEUES = {
    "taskql-dlq": ("taskql", "taskql-high", "taskql-low"),
    "taskql-dlq.fifo": ("taskql.fifo",),
}
"""For each queue of dead letters, the queues whose dead letters it takes."""

ANYWHERE = "us-east-1"
"""The region that a bucket is in unless it is told another, and that may not be named."""

MAX_RECEIVES = 1_000
"""A backstop: dead letters are TaskQL's own decision, far sooner."""


def main() -> None:
    region = os.environ.get("AWS_REGION") or os.environ["AWS_DEFAULT_REGION"]
    sqs = boto3.client("sqs", region_name=region)
    for dead_letters, queues in QUEUES.items():
        url = made(sqs, dead_letters)
        described = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        redrive = {"deadLetterTargetArn": described["QueueArn"], "maxReceiveCount": MAX_RECEIVES}
        for queue in queues:
            attributes = {"RedrivePolicy": json.dumps(redrive)}
            sqs.set_queue_attributes(QueueUrl=made(sqs, queue), Attributes=attributes)
    if bucket := os.environ.get("RESULTS_BUCKET"):
        make_bucket(boto3.client("s3", region_name=region), bucket, region)


def made(sqs: Any, name: str) -> str:
    """The URL of the queue. What goes with a FIFO queue is FIFO itself, so its name says which it is."""
    kind = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
    return str(sqs.create_queue(QueueName=name, Attributes=kind)["QueueUrl"])


def make_bucket(s3: Any, name: str, region: str) -> None:
    place = {} if region == ANYWHERE else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    try:
        s3.create_bucket(Bucket=name, **place)
    except s3.exceptions.BucketAlreadyOwnedByYou:
        return


if __name__ == "__main__":
    main()
