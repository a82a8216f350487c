"""Short scenes, each of which one safeguard alone makes end well."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx

from taskql.devstack import DevStack
from tests.deployment import START_SECONDS, Process
from tests.faults import failpoints
from tests.faults.checker import Violation, violations
from tests.faults.crew import is_up
from tests.faults.evidence import Ask, DeadMessage, End, Request, View
from tests.faults.failpoints import Failpoint
from tests.faults.trial import Stage, gather
from tests.faults.workload import watch

API, CONSUMER = "gql", "consumer"
LOOK_SECONDS = 0.05
SCENE_SECONDS = 90.0
PROMPT = {"TASKQL_VISIBILITY_SECONDS": "2", "TASKQL_HEARTBEAT_SECONDS": "0.5", "TASKQL_RESEND_SECONDS": "1"}
"""The shortest spans that may be set."""
EXTENDED = """
SELECT count(*) = 1 FROM tasks t JOIN dispatch d ON d.task_id = t.id
WHERE t.status = 'PROCESSING' AND d.lease_expires_at > t.updated_at + interval '2.4 s'
"""
"""A heartbeat has extended the lease of the claim: by then the handler runs."""


@dataclass
class Scene:
    """A stage, and who is on it."""

    stage: Stage
    stack: DevStack
    patience_seconds: float
    """How long the end may take after what the scene does: what isn't done by then counts as lost."""
    requests: list[Request] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)

    async def start(self, *modules: str) -> Process:
        """Start processes together and wait until they are up; the last one of them.

        Not by what blocks: a consumer becomes ready through the proxy, which is served by this very loop.
        """
        processes = [self.stage.deployment.launch(module) for module in modules]
        async with asyncio.timeout(START_SECONDS):
            while not all(map(is_up, processes)):
                await asyncio.sleep(LOOK_SECONDS)
        return processes[-1]

    async def create(self, end: End = End.SUCCESS, **work: Any) -> str:
        """Ask for a task, and have the API back if it dies of that."""
        request = Request(f"key {len(self.requests)}", end, "leaveMark" in work)
        self.requests.append(request)
        asked: dict[str, Any] = {"idempotencyKey": request.key, "work": work}
        try:
            request.answers.append(await self.stage.deployment.create_id(**asked))
        except httpx.TransportError:
            await self.start(API)
            request.answers.append(await self.stage.deployment.create_id(**asked))
        return request.answers[0]

    async def retry(self, task_id: str) -> None:
        self.asks.append(Ask(datetime.now(UTC), task_id))
        answer = await self.stage.deployment.graphql(
            "mutation Retry($id: ID!) { retryTask(input: {id: $id}) { task { id } } }", id=task_id
        )
        assert answer["retryTask"]["task"]

    async def put_back(self, letter: DeadMessage) -> None:
        self.asks.append(Ask(datetime.now(UTC), letter.task_id, letter.attempt))
        await asyncio.to_thread(self.stage.queues.put_back, letter)

    async def dead_letter(self) -> DeadMessage:
        """Wait for the first one."""
        async with asyncio.timeout(SCENE_SECONDS):
            while not (found := await asyncio.to_thread(self.stage.queues.peek)):
                await asyncio.sleep(LOOK_SECONDS)
        return found[0]

    async def until(self, condition: str) -> None:
        """Poll PostgreSQL."""
        connection = await self.stage.deployment.connect()
        try:
            async with asyncio.timeout(SCENE_SECONDS):
                while not await connection.fetchval(condition):
                    await asyncio.sleep(LOOK_SECONDS)
        finally:
            await connection.close()

    async def check(self) -> list[Violation]:
        await self.stage.settled(self.patience_seconds)
        return violations(replace(await gather(self.stage, self.requests, self.views), asks=self.asks))


async def a_worker_wakes_up_after_its_lease(scene: Scene) -> None:
    sleeper = await scene.start(API, CONSUMER)
    # Longer than a lease: it ends at least that long before the attempt that follows.
    await scene.create(leaveMark={"seconds": 3})
    await scene.until(EXTENDED)
    sleeper.signal(signal.SIGSTOP)
    try:
        await scene.start(CONSUMER)
        await scene.until("SELECT count(*) = 1 FROM tasks WHERE status = 'PROCESSING' AND attempt = 2")
    finally:
        sleeper.signal(signal.SIGCONT)


async def a_worker_dies(scene: Scene) -> None:
    worker = await scene.start(API, CONSUMER)
    await scene.create(leaveMark={"seconds": 3})
    await scene.until("SELECT count(*) = 1 FROM tasks WHERE status = 'PROCESSING'")
    worker.kill()
    await scene.start(CONSUMER)


async def a_queue_is_purged(scene: Scene) -> None:
    await scene.start(API)
    await scene.create(leaveMark={})
    await scene.until("SELECT count(*) = 1 FROM dispatch WHERE sent_at IS NOT NULL")
    scene.stage.deployment.sqs.purge_queue(QueueUrl=scene.stage.deployment.env["SQS_QUEUE_URL"])
    await scene.start(CONSUMER)


async def the_api_dies_between_commit_and_send(scene: Scene) -> None:
    await scene.start(API, CONSUMER)
    armed = failpoints.arm(scene.stage.armory, Failpoint.BETWEEN_COMMIT_AND_SEND)
    await scene.create(leaveMark={})
    async with asyncio.timeout(SCENE_SECONDS):
        while armed.exists():
            await asyncio.sleep(LOOK_SECONDS)


async def a_task_runs(scene: Scene) -> None:
    await scene.start(API, CONSUMER)
    await scene.create(leaveMark={"seconds": 0.2})


async def a_duplicate_comes_during_the_back_off(scene: Scene) -> None:
    await scene.start(API, CONSUMER)
    task_id = await scene.create(leaveMark={"failures": 1, "afterSeconds": 5})
    await scene.until("SELECT count(*) = 1 FROM tasks WHERE status = 'PENDING' AND attempt = 1")
    body = f'{{"task_id": "{task_id}", "v": 1}}'
    scene.stage.deployment.sqs.send_message(
        QueueUrl=scene.stage.deployment.env["SQS_QUEUE_URL"], MessageBody=body
    )


async def redis_dies_before_a_watched_task_ends(scene: Scene) -> None:
    await scene.start(API, CONSUMER)
    view = View(await scene.create(countdown={"steps": 6, "stepSeconds": 0.5}))
    scene.views.append(view)
    watching = asyncio.create_task(watch(scene.stage.deployment.ws_url, view, lambda _: None))
    await scene.until("SELECT count(*) = 1 FROM tasks WHERE status = 'PROCESSING'")
    scene.stack.valkey.kill()
    try:
        await asyncio.wait([watching], timeout=scene.patience_seconds)
    finally:
        scene.stack.valkey.start()
        watching.cancel()


async def a_task_fails(scene: Scene) -> None:
    await scene.start(API, CONSUMER)
    await scene.create(End.PERMANENT_FAILURE, fail={"permanent": True})
    await scene.until("SELECT count(*) = 1 FROM dead_letters")


async def an_old_dead_letter_comes_back(scene: Scene) -> None:
    """Its task was tried again and FAILED at another attempt meanwhile."""
    await scene.start(API, CONSUMER)
    task_id = await scene.create(End.PERMANENT_FAILURE, fail={"permanent": True})
    letter = await scene.dead_letter()
    await scene.retry(task_id)
    await scene.until("SELECT count(*) = 1 FROM tasks WHERE status = 'FAILED' AND attempt = 2")
    await scene.put_back(letter)
    await scene.until("SELECT count(*) = 1 FROM dead_letters WHERE attempt = 2 AND sent_at IS NOT NULL")


SCENARIOS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "no_fence": a_worker_wakes_up_after_its_lease,
    "no_rescuer": a_worker_dies,
    "no_resend": a_queue_is_purged,
    "no_dispatch_row": the_api_dies_between_commit_and_send,
    "acknowledge_before_record": a_task_runs,
    "retry_without_due_check": a_duplicate_comes_during_the_back_off,
    "no_reconcile": redis_dies_before_a_watched_task_ends,
    "no_dead_letters_sent": a_task_fails,
    "redrive_without_attempt_check": an_old_dead_letter_comes_back,
}
"""Each with the mutant that it finds."""
