"""The consumer as a Lambda function, deployed as docs/lambda.md says, on the emulator's Lambda.

No consumer runs here: the API's upkeep does what a function can't.
"""

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from deploy import package
from taskql.devstack import DevStack
from tests.deployment import QUICK, ROOT, Deployment
from tests.subscriber import subscriber

pytestmark = pytest.mark.long

EXTRA = Path(__file__).with_name("lambda_kinds.py")
ROLE = "arn:aws:iam::000000000000:role/lambda"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
DEADLINE_SECONDS = 120.0

SHORT_SECONDS = 12
"""The time limit of the function that is to run into it."""

KINDS: list[Any] = [
    {"process": {}},
    {"compute": {"numbers": [10, 20]}},
    {"transform": {"text": "Hello"}},
    {"reverse": {"inputData": "hello"}},
    {"countdown": {"steps": 3, "stepSeconds": 0.1}},
]


class Functions(Deployment):
    """An API, and functions for its queues."""

    async def deploy(self, name: str, timeout: int, *queues: str, **settings: str) -> None:
        """Deploy, by the command of docs/lambda.md."""
        chosen = [word for queue in queues for word in ("--queue", queue)]
        built = str(await asyncio.to_thread(packaged))
        shape = ["--timeout", str(timeout), "--python", PYTHON, "--concurrency", "2"]
        arguments = ["--role", ROLE, "--name", name, "--package", built, *shape, *chosen]
        before, self.env = self.env, self.env | {"LOG_LEVEL": "debug"} | settings
        try:
            await asyncio.to_thread(self.run, "deploy.function", *arguments, seconds=120)
        finally:
            self.env = before

    async def ended(self, task_id: str, fields: str = "status") -> Any:
        """The task, once it has ended."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (await self.task(task_id))["status"] in ("PENDING", "PROCESSING"):
                await asyncio.sleep(0.1)
        return await self.task(task_id, fields)

    def delete(self) -> None:
        """The emulator keeps functions and mappings beyond a restart."""
        functions = boto3.client("lambda", **self.aws)
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            functions.delete_event_source_mapping(UUID=mapping["UUID"])
        for function in functions.list_functions()["Functions"]:
            functions.delete_function(FunctionName=function["FunctionName"])

    @property
    def aws(self) -> dict[str, Any]:
        return {
            "endpoint_url": self.env["AWS_ENDPOINT_URL"],
            "region_name": self.env["AWS_REGION"],
            "aws_access_key_id": self.env["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": self.env["AWS_SECRET_ACCESS_KEY"],
        }


def packaged() -> Path:
    """The package for the emulator's Python, which is this one; built anew when its sources have changed."""
    sources = [package.REQUIREMENTS, EXTRA, Path(package.__file__)]
    for folder in package.OURS:
        sources += sorted((ROOT / folder).rglob("*.py"))
    digest = hashlib.sha256(PYTHON.encode())
    for source in sources:
        digest.update(source.read_bytes())
    built = ROOT / "build" / f"lambda-test-{digest.hexdigest()[:16]}.zip"
    if not built.exists():
        for old in built.parent.glob("lambda-test-*.zip"):
            old.unlink(missing_ok=True)
        package.build(built, "native", PYTHON, [EXTRA])
    return built


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """A stack of its own, whose functions nobody else meets."""
    with DevStack(data=tmp_path_factory.mktemp("lambda-stack"), say=lambda _: None) as stack:
        yield stack


@pytest.fixture(scope="module")
async def site(aws: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Functions]:
    """An API and a function that takes the messages of the normal queue and the FIFO queue."""
    settings = {**QUICK, "TASK_HANDLERS": "lambda_kinds", "PYTHONPATH": str(EXTRA.parent)}
    async with Functions(aws, tmp_path_factory.mktemp("lambda"), settings) as site:
        site.start_api()
        redrive_to_dead_letters(site)
        await site.deploy("normal", 20, "SQS_QUEUE_URL", "SQS_FIFO_QUEUE_URL")
        yield site
        site.delete()


def redrive_to_dead_letters(site: Functions) -> None:
    for queue, letters in (("SQS_QUEUE_URL", "SQS_DLQ_URL"), ("SQS_FIFO_QUEUE_URL", "SQS_FIFO_DLQ_URL")):
        arn = site.sqs.get_queue_attributes(QueueUrl=site.env[letters], AttributeNames=["QueueArn"])
        target = arn["Attributes"]["QueueArn"]
        policy = json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": 1000})
        site.sqs.set_queue_attributes(QueueUrl=site.env[queue], Attributes={"RedrivePolicy": policy})


async def test_tasks_of_every_kind_complete_without_a_consumer(site: Functions) -> None:
    ids = [await site.create_id("By Lambda", work=work) for work in KINDS]
    ends = [await site.ended(task_id, "status attempt") for task_id in ids]
    assert ends == [{"status": "COMPLETED", "attempt": 1}] * len(KINDS)


async def test_a_watcher_sees_the_progress_and_the_end(site: Functions) -> None:
    async with subscriber(site.ws_url) as watcher:
        work = {"countdown": {"steps": 3, "stepSeconds": 0.4}}
        states = await watcher.states(await site.create_id(work=work))
    assert states[-1]["status"] == "COMPLETED"
    assert any(state["progress"] for state in states[:-1])


async def test_a_large_result_goes_to_its_bucket(site: Functions) -> None:
    task_id = await site.create_id(work={"reverse": {"inputData": "x" * 100_000}})
    end = await site.ended(task_id, "result { ... on ReverseResult { outputData } } resultUrl")
    assert end["result"] == {"outputData": "x" * 100_000}
    assert f"results/{task_id}/1.json" in end["resultUrl"]


async def test_a_handler_has_a_process_of_its_own(site: Functions) -> None:
    task_id = await site.create_id(work={"processes": {}})
    result = (await site.ended(task_id, "result { ... on ProcessesResult { parent own } }"))["result"]
    assert result["parent"] != result["own"]


async def test_a_foreign_message_becomes_a_dead_letter_and_its_neighbours_complete(site: Functions) -> None:
    ids = [await site.create_id() for _ in range(4)]
    site.sqs.send_message(QueueUrl=site.env["SQS_QUEUE_URL"], MessageBody="not ours")
    ids += [await site.create_id() for _ in range(5)]
    assert [await site.ended(task_id) for task_id in ids] == [{"status": "COMPLETED"}] * 9
    letter = await receive(site, "SQS_DLQ_URL")
    assert letter["Body"] == "not ours"
    assert letter["MessageAttributes"]["reason"]["StringValue"].startswith("FOREIGN_MESSAGE")
    await is_empty(site, "SQS_QUEUE_URL")


async def test_ordered_tasks_keep_their_order(site: Functions) -> None:
    work = {"countdown": {"steps": 1, "stepSeconds": 0.2}}
    ids = [await site.create_id(f"No. {n}", orderingKey="one", work=work) for n in range(5)]
    ends = [await site.ended(task_id, "status startedAt finishedAt") for task_id in ids]
    assert {end["status"] for end in ends} == {"COMPLETED"}
    moments = [end[moment] for end in ends for moment in ("startedAt", "finishedAt")]
    assert moments == sorted(moments)


async def test_a_task_that_takes_its_container_along_runs_again(site: Functions) -> None:
    task_id = await site.create_id(work={"crashOnce": {}})
    end = await site.ended(task_id, "status attempts { outcome }")
    assert end == {"status": "COMPLETED", "attempts": [{"outcome": "LOST"}, {"outcome": "COMPLETED"}]}


async def test_a_message_that_got_lost_is_sent_again_though_nobody_else_polls(site: Functions) -> None:
    task_id = await site.create_id(priority="HIGH")
    await lose_message(site, "SQS_HIGH_QUEUE_URL")
    await site.deploy("normal", 20, "SQS_HIGH_QUEUE_URL")
    assert await site.ended(task_id, "status attempt") == {"status": "COMPLETED", "attempt": 1}


async def test_what_runs_near_the_time_limit_is_given_back_and_completes_later(site: Functions) -> None:
    first = await site.create_id(priority="LOW", work={"countdown": {"steps": 1, "stepSeconds": 2.5}})
    second = await site.create_id(priority="LOW", work={"outlast": {}})
    await has_messages(site, "SQS_LOW_QUEUE_URL", 2)
    await site.deploy("short", SHORT_SECONDS, "SQS_LOW_QUEUE_URL", TASKQL_CONCURRENCY="1")
    assert await site.ended(first) == {"status": "COMPLETED"}
    end = await site.ended(second, "status attempts { outcome }")
    assert end == {"status": "COMPLETED", "attempts": [{"outcome": "RELEASED"}, {"outcome": "COMPLETED"}]}


async def test_a_function_that_cannot_work_gets_no_messages(site: Functions) -> None:
    with pytest.raises(AssertionError, match=r"no queue was connected to it: .*not_there"):
        await site.deploy("broken", 20, "SQS_LOW_QUEUE_URL", TASK_HANDLERS="not_there")


async def receive(site: Functions, queue: str) -> Any:
    """The next message of a queue."""
    asked = {"QueueUrl": site.env[queue], "MessageAttributeNames": ["All"], "WaitTimeSeconds": 5}
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (found := (await asyncio.to_thread(site.sqs.receive_message, **asked)).get("Messages")):
            pass
    return found[0]


async def lose_message(site: Functions, queue: str) -> None:
    receipt = (await receive(site, queue))["ReceiptHandle"]
    site.sqs.delete_message(QueueUrl=site.env[queue], ReceiptHandle=receipt)


async def has_messages(site: Functions, queue: str, count: int) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while counted(site, queue, "ApproximateNumberOfMessages") < count:
            await asyncio.sleep(0.1)


async def is_empty(site: Functions, queue: str) -> None:
    kinds = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    async with asyncio.timeout(DEADLINE_SECONDS):
        while any(counted(site, queue, kind) for kind in kinds):
            await asyncio.sleep(0.1)


def counted(site: Functions, queue: str, kind: str) -> int:
    found = site.sqs.get_queue_attributes(QueueUrl=site.env[queue], AttributeNames=[kind])
    return int(found["Attributes"][kind])
