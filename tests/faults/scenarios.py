"""Short scenes, each of which one safeguard alone makes end well."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from redis.asyncio import Redis

from taskql.adapters.redis.codec import channel
from taskql.devstack import DevStack
from taskql.queues import Queue
from tests.deployment import START_SECONDS, Process
from tests.faults import failpoints
from tests.faults.checker import Violation, violations
from tests.faults.crew import is_up
from tests.faults.evidence import Ask, DeadMessage, End, Request, View
from tests.faults.failpoints import Failpoint
from tests.faults.trial import Stage, gather
from tests.faults.workload import CANCEL, watch

API, CONSUMER = "gql", "consumer"
LOOK_SECONDS = 0.05
SCENE_SECONDS = 90.0
PROMPT = {"TASKQL_VISIBILITY_SECONDS": "2", "TASKQL_HEARTBEAT_SECONDS": "0.5", "TASKQL_RESEND_SECONDS": "1"}
"""The shortest spans that may be set."""
WELCOME_SECONDS = 3.0
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
                assert all(process.alive for process in processes), [process.said for process in processes]
                await asyncio.sleep(LOOK_SECONDS)
        return processes[-1]

    async def create(self, end: End = End.SUCCESS, **work: Any) -> str:
        """Ask for a task, and have the API back if it dies of that."""
        return await self.ask(Request(self.key(), end, "leaveMark" in work), work)

    async def ask(self, request: Request, work: dict[str, Any], times: int = 1) -> str:
        self.requests.append(request)
        asked: dict[str, Any] = {
            "idempotencyKey": request.key,
            "work": work,
            "orderingKey": request.ordering_key,
            "runAt": request.run_at and request.run_at.isoformat(),
            "expiresAt": request.expires_at and request.expires_at.isoformat(),
        }
        asked = {name: value for name, value in asked.items() if value is not None}
        while len(request.answers) < times:
            request.asked_at = request.asked_at or datetime.now(UTC)
            try:
                payload = await self.stage.deployment.create(**asked)
            except httpx.TransportError:
                await self.start(API)
                continue
            assert payload["userErrors"] == []
            request.answers.append(str(payload["task"]["id"]))
            request.created += payload["created"]
            request.answered_at = request.answered_at or datetime.now(UTC)
        return request.answers[0]

    def key(self) -> str:
        return f"key {len(self.requests)}"

    async def retry(self, task_id: str) -> None:
        self.asks.append(Ask(datetime.now(UTC), task_id))
        answer = await self.stage.deployment.graphql(
            "mutation Retry($id: ID!) { retryTask(input: {id: $id}) { task { id } } }", id=task_id
        )
        assert answer["retryTask"]["task"]

    async def cancel(self, task_id: str) -> None:
        for request in self.requests:
            request.cancelling |= task_id in request.answers
        answer = await self.stage.deployment.graphql(CANCEL, id=task_id)
        assert answer["cancelTask"]["task"]

    @asynccontextmanager
    async def watching(self, task_id: str) -> AsyncIterator[View]:
        """Afterwards the watcher has time to see the end."""
        self.views.append(view := View(task_id))
        watching = asyncio.create_task(watch([self.stage.deployment.ws_url], view, lambda _: None))
        try:
            yield view
            await asyncio.wait([watching], timeout=self.patience_seconds)
        finally:
            watching.cancel()

    async def sees(self, view: View, seconds: float = SCENE_SECONDS) -> None:
        """Wait until the watcher has seen something, for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not view.states:
                    await asyncio.sleep(LOOK_SECONDS)

    async def put_back(self, letter: DeadMessage) -> None:
        self.asks.append(Ask(datetime.now(UTC), letter.task_id, letter.attempt))
        await asyncio.to_thread(self.stage.queues.put_back, letter, Queue.NORMAL)

    async def dead_letter(self) -> DeadMessage:
        """Wait for the first one."""
        async with asyncio.timeout(SCENE_SECONDS):
            while not (found := await asyncio.to_thread(self.stage.queues.peek)):
                await asyncio.sleep(LOOK_SECONDS)
        return found[0]

    async def until(self, condition: str, *arguments: Any) -> None:
        """Poll PostgreSQL."""
        connection = await self.stage.deployment.connect()
        try:
            async with asyncio.timeout(SCENE_SECONDS):
                while not await connection.fetchval(condition, *arguments):
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


async def a_worker_dies_before_its_follow_ups_are_stored(scene: Scene) -> None:
    worker = await scene.start(API, CONSUMER)
    armed = failpoints.arm(scene.stage.armory, Failpoint.BETWEEN_OUTCOME_AND_FOLLOW_UPS)
    request = Request(scene.key(), End.SUCCESS, leaves_mark=True, follow_ups=2)
    await scene.ask(request, {"leaveMark": {"followUps": 2}})
    async with asyncio.timeout(SCENE_SECONDS):
        while armed.exists() or worker.alive:
            await asyncio.sleep(LOOK_SECONDS)
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
    task_id = await scene.create(countdown={"steps": 6, "stepSeconds": 0.5})
    try:
        async with scene.watching(task_id):
            await scene.until("SELECT count(*) = 1 FROM tasks WHERE status = 'PROCESSING'")
            scene.stack.valkey.kill()
    finally:
        scene.stack.valkey.start()


async def redis_comes_back_after_a_watched_task_has_ended(scene: Scene) -> None:
    await scene.start(API, CONSUMER)
    task_id = await scene.create(countdown={"steps": 6, "stepSeconds": 0.5})
    async with scene.watching(task_id) as view:
        await scene.until("SELECT count(*) = 1 FROM tasks WHERE status = 'PROCESSING'")
        await scene.sees(view)
        scene.stack.valkey.kill()
        try:
            await scene.until("SELECT count(*) = 1 FROM tasks WHERE status = 'COMPLETED'")
        finally:
            scene.stack.valkey.start()


async def a_task_ends_while_its_watcher_is_welcomed(scene: Scene) -> None:
    """Each step of a welcome is slow: see SETTINGS."""
    await scene.start(API)
    task_id = await scene.create(leaveMark={})
    async with scene.watching(task_id) as view:
        await scene.sees(view, WELCOME_SECONDS / 2)  # the mutant has looked by now, or nobody has
        await scene.cancel(task_id)


async def events_come_again(scene: Scene) -> None:
    """Each of them twice, and the first one after every other."""
    await scene.start(API, CONSUMER)
    task_id = await scene.create(countdown={"steps": 4, "stepSeconds": 0.5})
    async with Redis.from_url(scene.stack.env["REDIS_URL"]) as redis, redis.pubsub() as heard:
        await heard.subscribe(name := channel(UUID(task_id)))
        async with scene.watching(task_id) as view:
            events: list[bytes] = []
            until = time.monotonic() + scene.patience_seconds
            while not view.completed and time.monotonic() < until:
                message = await heard.get_message(ignore_subscribe_messages=True, timeout=LOOK_SECONDS)
                if message and message["data"] not in events:
                    events.append(message["data"])
                    for event in (events[-1], events[0]):
                        await redis.publish(name, event)


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


async def tasks_are_asked_for_in_every_way(scene: Scene) -> None:
    """In order, once, later, and not too late."""
    await scene.start(API, CONSUMER)
    for failures in (1, 0):
        request = Request(scene.key(), End.SUCCESS, leaves_mark=True, ordering_key="line")
        await scene.ask(request, {"leaveMark": {"failures": failures, "afterSeconds": 3}})
    await scene.ask(Request(scene.key(), End.SUCCESS, leaves_mark=True), {"leaveMark": {}}, times=2)
    later = datetime.now(UTC) + timedelta(seconds=4)
    await scene.ask(Request(scene.key(), End.SUCCESS, leaves_mark=True, run_at=later), {"leaveMark": {}})
    for spare in (2, 4, 8, 16):  # until it starts in time, which takes how long it takes
        soon = datetime.now(UTC) + timedelta(seconds=spare)
        request = Request(scene.key(), End.SUCCESS, leaves_mark=True, expires_at=soon)
        task_id = await scene.ask(request, {"leaveMark": {"seconds": spare + 1.5}})
        await scene.until("SELECT status <> 'PENDING' FROM tasks WHERE id = $1::text::uuid", task_id)
        if (await scene.stage.deployment.task(task_id, "attempt"))["attempt"]:
            break


Scenario = Callable[[Scene], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {
    "no_fence": a_worker_wakes_up_after_its_lease,
    "no_rescuer": a_worker_dies,
    "no_resend": a_queue_is_purged,
    "no_dispatch_row": the_api_dies_between_commit_and_send,
    "acknowledge_before_record": a_task_runs,
    "retry_without_due_check": a_duplicate_comes_during_the_back_off,
    "no_reconcile": redis_dies_before_a_watched_task_ends,
    "no_resync": redis_comes_back_after_a_watched_task_has_ended,
    "snapshot_before_subscribe": a_task_ends_while_its_watcher_is_welcomed,
    "no_version_check": events_come_again,
    "no_dead_letters_sent": a_task_fails,
    "redrive_without_attempt_check": an_old_dead_letter_comes_back,
    "no_order": tasks_are_asked_for_in_every_way,
    "sent_before_due": tasks_are_asked_for_in_every_way,
    "expire_started": tasks_are_asked_for_in_every_way,
    "no_idempotency": tasks_are_asked_for_in_every_way,
    "follow_ups_apart": a_worker_dies_before_its_follow_ups_are_stored,
}
"""By mutant, the scene that finds it."""
SETTINGS: dict[Scenario, Mapping[str, str]] = {
    a_task_ends_while_its_watcher_is_welcomed: {failpoints.WELCOME_SECONDS: str(WELCOME_SECONDS)},
}
"""What a scene needs besides."""
