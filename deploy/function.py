"""Deploy the consumer as a Lambda function, or bring it up to date: `python -m deploy.function --role ARN`.

The function gets this process's settings (DATABASE_URL, SQS_QUEUE_URL, …: see .env.example) and a mapping for
each queue. It is called once before any mapping sends it messages, so that a wrong setting costs none.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from taskql.settings import Settings

HANDLER = "consumer.lambda_handler.handler"
QUEUES = ("SQS_QUEUE_URL", "SQS_HIGH_QUEUE_URL", "SQS_LOW_QUEUE_URL", "SQS_FIFO_QUEUE_URL")
BATCH = 5
WINDOW_SECONDS = 10
"""How long Lambda may collect a batch where few messages come. FIFO queues know no such wait."""
VISIBILITY_FACTOR = 6
"""Of the function's time limit: what AWS asks for, so that a throttled batch is not received twice."""


class DeployError(Exception):
    """What went wrong and what to do about it."""


def deploy(asked: argparse.Namespace) -> None:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    patient = Config(read_timeout=asked.timeout + 30, retries={"total_max_attempts": 1})
    functions = boto3.client("lambda", region_name=region, config=patient)
    sqs = boto3.client("sqs", region_name=region)
    put_function(functions, asked)
    try_out(functions, asked.name)
    for setting in asked.queue or QUEUES:
        url = os.environ[setting]
        lengthen_visibility(sqs, url, VISIBILITY_FACTOR * asked.timeout)
        put_mapping(functions, asked.name, queue_arn(sqs, url), mapping(url, asked.concurrency))
        print(f"TaskQL: {asked.name} takes the messages of {url}")


def put_function(functions: Any, asked: argparse.Namespace) -> None:
    """The function with today's code and settings, ready to be called."""
    name, code = asked.name, {"ZipFile": asked.package.read_bytes()}
    shape = {"Architectures": [asked.arch]} if asked.arch else {}
    configuration = {
        "Handler": HANDLER,
        "Runtime": f"python{asked.python}",
        "Role": asked.role,
        "Timeout": asked.timeout,
        "MemorySize": asked.memory,
        "Environment": {"Variables": settings(os.environ)},
        "VpcConfig": {"SubnetIds": asked.subnet, "SecurityGroupIds": asked.security_group},
    }
    if exists(functions, lambda: functions.get_function(FunctionName=name)):
        functions.update_function_code(FunctionName=name, **code, **shape)
        functions.get_waiter("function_updated_v2").wait(FunctionName=name)
        functions.update_function_configuration(FunctionName=name, **configuration)
        functions.get_waiter("function_updated_v2").wait(FunctionName=name)
    else:
        functions.create_function(FunctionName=name, Code=code, **shape, **configuration)
        functions.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})


def try_out(functions: Any, name: str) -> None:
    """An event without messages makes the function open all that it needs."""
    answer = functions.invoke(FunctionName=name, Payload=b"{}")
    said = answer["Payload"].read().decode()
    if answer.get("FunctionError"):
        raise DeployError(f"the function {name} can't work, so no queue was connected to it: {said}")


def put_mapping(functions: Any, name: str, arn: str, configuration: dict[str, Any]) -> None:
    found = functions.list_event_source_mappings(FunctionName=name, EventSourceArn=arn)["EventSourceMappings"]
    if found:
        functions.update_event_source_mapping(UUID=found[0]["UUID"], FunctionName=name, **configuration)
    else:
        functions.create_event_source_mapping(FunctionName=name, EventSourceArn=arn, **configuration)


def mapping(url: str, concurrency: int | None) -> dict[str, Any]:
    """How a queue's messages reach the function."""
    window = {} if url.endswith(".fifo") else {"MaximumBatchingWindowInSeconds": WINDOW_SECONDS}
    scaling = {"ScalingConfig": {"MaximumConcurrency": concurrency}} if concurrency else {}
    failures = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
    return {"BatchSize": BATCH, **failures, **window, **scaling}


def lengthen_visibility(sqs: Any, url: str, seconds: int) -> None:
    """What Lambda receives stays hidden for as long as the queue says."""
    name = "VisibilityTimeout"
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"]
    if int(found[name]) < seconds:
        sqs.set_queue_attributes(QueueUrl=url, Attributes={name: str(seconds)})


def queue_arn(sqs: Any, url: str) -> str:
    return str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Our settings among the variables. AWS sets its own; an emulator says where it is."""
    ours = {name.upper() for name in Settings.model_fields if not name.startswith("aws_")}
    return {name: value for name, value in environment.items() if name in ours and value}


def exists(functions: Any, get: Callable[[], object]) -> bool:
    try:
        get()
    except functions.exceptions.ResourceNotFoundException:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", required=True, help="ARN of the role that the function runs as")
    parser.add_argument("--name", default="taskql-consumer")
    parser.add_argument("--package", type=Path, default=Path("build/lambda.zip"), help="from make lambda")
    parser.add_argument("--python", default="3.13", help="what the package was built for")
    parser.add_argument("--arch", choices=("x86_64", "arm64"), help="what the package was built for")
    parser.add_argument("--timeout", type=int, default=300, help="seconds: more than a handler takes")
    parser.add_argument("--memory", type=int, default=1024, help="MB; the share of a CPU grows with it")
    parser.add_argument("--concurrency", type=int, help="batches of a queue at a time, at most (2 to 1000)")
    parser.add_argument("--subnet", action="append", default=[], help="from which PostgreSQL can be reached")
    parser.add_argument("--security-group", action="append", default=[])
    parser.add_argument("--queue", action="append", choices=QUEUES, help="only these; else all four")
    try:
        deploy(parser.parse_args())
    except DeployError as error:
        sys.exit(f"TaskQL: {error}")


if __name__ == "__main__":
    main()
