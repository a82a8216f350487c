"""Queues of one test's own on the stack's SQS, with what sends to them and receives from them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from taskql.adapters.sqs import SqsClient, SqsReceiver, SqsSender, open_client
from taskql.devstack import DevStack
from taskql.ports import MAX_POLL_SECONDS, DeadLetter, Dispatch, Message
from taskql.queues import Queue
from tests.deployment import kind

LONG = timedelta(seconds=MAX_POLL_SECONDS)
VISIBILITY = timedelta(seconds=60)


@dataclass(frozen=True)
class Clients:
    """What the tests of one stack share: a client costs more than a test."""

    polling: SqsClient
    control: SqsClient


@dataclass(frozen=True)
class Queues:
    """All the queues, with names that no other test uses, and what works on them."""

    urls: dict[Queue, str]
    dead_letter_urls: dict[Queue, str]
    sender: SqsSender
    receiver: SqsReceiver
    client: SqsClient

    async def make(self) -> None:
        """Make them; again, after the emulator has lost them with its memory."""
        for url in {*self.urls.values(), *self.dead_letter_urls.values()}:
            name = url.rpartition("/")[2]
            await self.client.request("create_queue", QueueName=name, Attributes=kind(name))

    async def send(self, count: int = 1, queue: Queue = Queue.NORMAL) -> list[Dispatch]:
        dispatches = [a_dispatch(queue) for _ in range(count)]
        assert await self.sender.send(dispatches) == dispatches
        return dispatches

    async def receive(self, queue: Queue = Queue.NORMAL) -> Message:
        [message] = await self.receiver.receive(queue, 1, LONG)
        return message

    async def received_now(self, queue: Queue = Queue.NORMAL, limit: int = 10) -> list[Message]:
        """What is there, without waiting for more."""
        return await self.receiver.receive(queue, limit, timedelta(0))

    async def dead_letters(self, queue: Queue = Queue.NORMAL) -> list[dict[str, Any]]:
        answer = await self.client.request(
            "receive_message",
            QueueUrl=self.dead_letter_urls[queue],
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
        )
        return list(answer.get("Messages", []))


@asynccontextmanager
async def open_clients(stack: DevStack, *, lean: bool = True) -> AsyncIterator[Clients]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in stack.env.items():
            environment.setenv(name, value)
        async with (
            open_client(endpoint_url=stack.env["AWS_ENDPOINT_URL"], longest_wait=LONG, lean=lean) as polling,
            open_client(endpoint_url=stack.env["AWS_ENDPOINT_URL"], lean=lean) as control,
        ):
            yield Clients(polling, control)


async def new_queues(stack: DevStack, clients: Clients) -> Queues:
    base = f"{stack.env['SQS_QUEUE_URL'].rpartition('/')[0]}/test-{uuid4()}"
    urls = {queue: f"{base}-{queue}" for queue in Queue} | {Queue.FIFO: f"{base}.fifo"}
    dead_letter_urls = dict.fromkeys(Queue, f"{base}-dlq") | {Queue.FIFO: f"{base}-dlq.fifo"}
    queues = Queues(
        urls,
        dead_letter_urls,
        SqsSender(clients.control, urls, dead_letter_urls),
        SqsReceiver(urls, VISIBILITY, polling=clients.polling, control=clients.control),
        clients.control,
    )
    await queues.make()
    return queues


def a_dispatch(queue: Queue = Queue.NORMAL, group: str = "a group") -> Dispatch:
    if queue is not Queue.FIFO:
        return Dispatch(uuid4(), queue, 1)
    return Dispatch(uuid4(), queue, 1, ordering_group=group, ordering_number=1)


def a_letter(body: str = "a body", reason: str = "a reason", queue: Queue = Queue.NORMAL) -> DeadLetter:
    return DeadLetter(uuid4(), reason, body, uuid4(), 3, queue, datetime.now(UTC))
