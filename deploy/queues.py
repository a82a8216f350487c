"""Makes TaskQL's queues on an SQS emulator; ministack runs this when it has started (docker-compose.yml).

Making them again changes nothing. AWS_ENDPOINT_URL and the credentials come from the environment.
"""

import json
import os

import boto3

MAX_RECEIVES = 1_000
"""A backstop: dead letters are TaskQL's own decision, far sooner."""


def main() -> None:
    region = os.environ.get("AWS_REGION") or os.environ["AWS_DEFAULT_REGION"]
    sqs = boto3.client("sqs", region_name=region)
    dead_letters = sqs.create_queue(QueueName="taskql-dlq")["QueueUrl"]
    described = sqs.get_queue_attributes(QueueUrl=dead_letters, AttributeNames=["QueueArn"])
    redrive = {"deadLetterTargetArn": described["Attributes"]["QueueArn"], "maxReceiveCount": MAX_RECEIVES}
    tasks = sqs.create_queue(QueueName="taskql")["QueueUrl"]
    sqs.set_queue_attributes(QueueUrl=tasks, Attributes={"RedrivePolicy": json.dumps(redrive)})


if __name__ == "__main__":
    main()
