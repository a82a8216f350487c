"""Nothing is lost, whatever is killed. Each test breaks services of its own."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from taskql.adapters.postgres import PostgresTasks, open_engine
from taskql.devstack import DevStack
from taskql.task import NewTask
from tests.deployment import Deployment, dead_letter_of
from tests.subscriber import subscriber

TASKS = 50
DEADLINE_SECONDS = 90.0


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    with DevStack(data=tmp_path_factory.mktemp("faults"), say=lambda _: None) as stack:
        yield stack


@pytest.fixture(scope="module")
async def api(own_stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with Deployment(own_stack, tmp_path_factory.mktemp("broken")) as deployment:
        deployment.start_api()
        yield deployment


@pytest.fixture
async def broken(api: Deployment) -> AsyncIterator[Deployment]:
    """A deployment that may be broken: an API without tasks, no consumer yet."""
    yield api
    api.kill_consumers()
    await api.forget_everything()


async def test_three_consumers_share_500_tasks_and_run_each_once(broken: Deployment) -> None:
    consumers = broken.start_consumers(3)
    ids = await asyncio.gather(*(broken.create_id(f"Task {number}") for number in range(500)))
    await all_finished(broken, 500)
    tasks = await rows(broken)
    assert {str(task["id"]) for task in tasks} == set(ids)
    assert {(task["status"], task["attempt"], task["version"]) for task in tasks} == {("COMPLETED", 1, 3)}
    assert all(consumer.alive for consumer in consumers)


async def test_a_killed_consumer_costs_an_attempt_and_no_task(broken: Deployment) -> None:
    [consumer] = broken.start_consumers()
    slow = {"process": {"simulateSeconds": 2}}
    await asyncio.gather(*(broken.create_id(work=slow) for _ in range(20)))
    await until_some_run(broken)
    consumer.kill()
    broken.start_consumers()
    await all_finished(broken, 20)
    tasks = await rows(broken)
    assert {task["status"] for task in tasks} == {"COMPLETED"}
    assert any("LOST" in task["attempts"] for task in tasks)


async def test_tasks_that_sqs_forgot_are_sent_again(broken: Deployment, own_stack: DevStack) -> None:
    await asyncio.gather(*(broken.create_id() for _ in range(TASKS)))
    await until_sent(broken, TASKS)
    broken.sqs.purge_queue(QueueUrl=broken.env["SQS_QUEUE_URL"])
    broken.start_consumers()
    await all_finished(broken, TASKS)


async def test_a_deep_backlog_is_not_mistaken_for_loss(broken: Deployment) -> None:
    backlog = 3_000
    await store_slow_tasks(broken, backlog)
    await until_sent(broken, backlog)
    broken.start_consumers()
    await until(broken, "SELECT count(*) >= 30 FROM tasks WHERE outcome IS NOT NULL")
    # Several times the margin after which a message counts as lost.
    await until(broken, "SELECT now() - min(sent_at) > interval '9 seconds' FROM dispatch")
    assert await value(broken, "SELECT max(sends) FROM dispatch") == 1


async def test_tasks_are_accepted_while_sqs_is_away_and_run_when_it_is_back(
    broken: Deployment, own_stack: DevStack
) -> None:
    broken.start_consumers()
    own_stack.sqs.kill()
    ids = await asyncio.gather(*(broken.create_id() for _ in range(TASKS)))
    assert (await broken.task(ids[0]))["status"] == "PENDING"
    own_stack.sqs.start()
    broken.make_queues()
    await all_finished(broken, TASKS)


async def test_a_watcher_gets_the_end_though_redis_is_killed(broken: Deployment, own_stack: DevStack) -> None:
    broken.start_consumers()
    async with subscriber(broken.ws_url) as watcher:
        task_id = await broken.create_id(work={"countdown": {"steps": 6, "stepSeconds": 0.5}})
        watching = asyncio.create_task(watcher.states(task_id))
        await until_some_run(broken)
        own_stack.valkey.kill()
        try:
            states = await asyncio.wait_for(watching, DEADLINE_SECONDS)
        finally:
            own_stack.valkey.start()
    assert states[-1]["status"] == "COMPLETED"
    versions = [state["version"] for state in states]
    assert versions == sorted(set(versions))


async def test_tasks_outlive_a_killed_postgresql(broken: Deployment, own_stack: DevStack) -> None:
    broken.start_consumers()
    await asyncio.gather(*(broken.create_id(work={"process": {"simulateSeconds": 1}}) for _ in range(TASKS)))
    await until_some_run(broken)
    own_stack.postgres.kill()
    own_stack.postgres.start()
    await all_finished(broken, TASKS)


async def test_a_stopped_consumer_gives_its_tasks_back(broken: Deployment) -> None:
    [consumer] = broken.start_consumers()
    task_id = await broken.create_id(work={"process": {"simulateSeconds": 3600}})
    await until_some_run(broken)
    consumer.signal(signal.SIGTERM)
    consumer.signal(signal.SIGTERM)
    assert consumer.wait() == 0
    task = await broken.task(task_id, "status attempt maxAttempts attempts { outcome }")
    released = {"status": "PENDING", "attempt": 1, "maxAttempts": 4, "attempts": [{"outcome": "RELEASED"}]}
    assert task == released
    assert "Traceback" not in consumer.said


async def test_a_dead_letter_put_back_by_hand_runs_its_task_again_and_a_duplicate_does_not(
    broken: Deployment,
) -> None:
    broken.start_consumers()
    task_id = await broken.create_id(work={"fail": {"permanent": True}})
    await all_finished(broken, 1)
    letter = await dead_letter_of(broken, task_id)
    attributes = {
        name: {"DataType": value["DataType"], "StringValue": value["StringValue"]}
        for name, value in letter["MessageAttributes"].items()
    }
    queue = broken.env["SQS_QUEUE_URL"]
    broken.sqs.send_message(QueueUrl=queue, MessageBody=letter["Body"])  # an ordinary duplicate
    for _ in range(2):  # the second one names an attempt that is history by then
        broken.sqs.send_message(QueueUrl=queue, MessageBody=letter["Body"], MessageAttributes=attributes)
    await until(broken, "SELECT count(*) = 1 FROM tasks WHERE attempt = 2 AND status = 'FAILED'")
    await until_empty(broken)
    [task] = await rows(broken)
    assert (task["attempt"], task["max_attempts"]) == (2, 4)


async def test_foreign_messages_are_kept_and_never_come_again(broken: Deployment) -> None:
    bodies = ["no JSON", "{}", '{"task_id": "01890000-0000-7000-8000-000000000000", "v": 1}', "x" * 1_000_000]
    bodies.append('{"task_id": "01890000-0000-7000-8000-000000000000", "v": 2}')
    for body in bodies:
        broken.sqs.send_message(QueueUrl=broken.env["SQS_QUEUE_URL"], MessageBody=body)
    broken.start_consumers()
    await until(broken, "SELECT count(*) = $1 FROM dead_letters WHERE sent_at IS NOT NULL", len(bodies))
    await until_empty(broken)
    connection = await broken.connect()
    kept = await connection.fetch("SELECT body, reason FROM dead_letters")
    await connection.close()
    assert sorted(letter["body"] for letter in kept) == sorted(bodies)
    assert {letter["reason"].partition(":")[0] for letter in kept} == {"FOREIGN_MESSAGE", "UNKNOWN_TASK"}


async def store_slow_tasks(deployment: Deployment, count: int) -> None:
    """As createTask would, but all at once, and left to whichever relay sweeps first."""
    async with open_engine(deployment.env["DATABASE_URL"], 2) as engine:
        store = PostgresTasks(engine)
        new = NewTask(
            owner="local",
            kind="process",
            title="slow",
            description=None,
            input={"simulate_seconds": 1},
            max_attempts=3,
        )
        for _ in range(count // 500):
            await store.create([new] * 500)


async def value(deployment: Deployment, query: str) -> Any:
    connection = await deployment.connect()
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def rows(deployment: Deployment) -> list[Any]:
    connection = await deployment.connect()
    try:
        return list(await connection.fetch("SELECT * FROM tasks"))
    finally:
        await connection.close()


async def all_finished(deployment: Deployment, count: int) -> None:
    """Every task terminal, and no dispatch row left behind."""
    await until(deployment, "SELECT count(*) = $1 FROM tasks WHERE outcome IS NOT NULL", count)
    await until(deployment, "SELECT count(*) = 0 FROM dispatch")


async def until_some_run(deployment: Deployment) -> None:
    await until(deployment, "SELECT count(*) > 0 FROM tasks WHERE status = 'PROCESSING'")


async def until_empty(deployment: Deployment) -> None:
    """Nothing waits in the queue, and nothing is with a consumer."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            found = deployment.sqs.get_queue_attributes(
                QueueUrl=deployment.env["SQS_QUEUE_URL"], AttributeNames=names
            )
            if all(found["Attributes"][name] == "0" for name in names):
                return
            await asyncio.sleep(0.05)


async def until_sent(deployment: Deployment, count: int) -> None:
    await until(deployment, "SELECT count(*) = $1 FROM dispatch WHERE sent_at IS NOT NULL", count)


async def until(deployment: Deployment, condition: str, *arguments: Any) -> None:
    """Poll PostgreSQL until the condition holds."""
    connection = await deployment.connect()
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await connection.fetchval(condition, *arguments):
                await asyncio.sleep(0.05)
    finally:
        await connection.close()
