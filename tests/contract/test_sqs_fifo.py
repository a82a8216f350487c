"""The FIFO queue: groups in order, each sending a message of its own, dead letters in their own queue."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from taskql.adapters.sqs import SqsClient, SqsSender
from taskql.devstack import DevStack
from taskql.message import decode
from taskql.ports import Message
from taskql.queues import Queue, ordering_group
from tests.contract.own_queues import Clients, Queues, a_dispatch, a_letter, new_queues, open_clients

GROUP = str(ordering_group("ada", "k"))
OTHER = str(ordering_group("bob", "k"))


@pytest.fixture(scope="module", params=[True, False], ids=["lean", "botocore"])
async def clients(stack: DevStack, request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    async with open_clients(stack, lean=request.param) as opened:
        yield opened


@pytest.fixture
async def queues(stack: DevStack, clients: Clients) -> Queues:
    return await new_queues(stack, clients)


class Noting(SqsClient):
    """Keeps what it is asked to send."""

    def __init__(self, client: SqsClient) -> None:
        self._client = client
        self.entries: list[dict[str, Any]] = []

    async def request(self, operation: str, **arguments: Any) -> Any:
        self.entries += arguments.get("Entries", [arguments])
        return await self._client.request(operation, **arguments)


async def waiting(queues: Queues) -> list[UUID]:
    """The tasks whose messages can be received now."""
    return [decode(message.body) for message in await queues.received_now(Queue.FIFO)]


async def test_what_is_sent_carries_its_group_and_what_tells_sendings_apart(queues: Queues) -> None:
    client = Noting(queues.client)
    sender = SqsSender(client, queues.urls, queues.dead_letter_urls)
    first = a_dispatch(Queue.FIFO, GROUP)
    others = [
        replace(first, attempt=2),
        replace(first, sends=1),
        replace(first, ordering_number=2),
        a_dispatch(Queue.FIFO, GROUP),
    ]
    await sender.send([first, *others])
    await sender.send([a_dispatch()])
    *ordered, plain = client.entries
    assert {entry["MessageGroupId"] for entry in ordered} == {GROUP}
    assert len({entry["MessageDeduplicationId"] for entry in ordered}) == len(ordered)
    assert all(len(entry["MessageDeduplicationId"]) <= 128 for entry in ordered)
    assert set(plain) == {"Id", "MessageBody"}


async def test_a_received_message_tells_its_group(queues: Queues) -> None:
    await queues.sender.send([a_dispatch(Queue.FIFO, GROUP)])
    message = await queues.receive(Queue.FIFO)
    assert (message.queue, message.ordering_group) == (Queue.FIFO, GROUP)


async def test_the_same_sending_twice_is_one_message(queues: Queues) -> None:
    """As when a relay dies between sending and marking: the next one sends the very same again."""
    dispatch = a_dispatch(Queue.FIFO, GROUP)
    for _ in range(2):
        assert await queues.sender.send([dispatch]) == [dispatch]
    await queues.receiver.acknowledge(await queues.receive(Queue.FIFO))
    assert await queues.sender.send([dispatch]) == [dispatch]
    assert await waiting(queues) == []


@pytest.mark.parametrize("change", [{"sends": 1}, {"attempt": 2}, {"ordering_number": 2}])
async def test_a_task_that_is_sent_again_is_delivered_again(queues: Queues, change: dict[str, int]) -> None:
    """A lost message, a retry, a revived task: none may fall to the queue's five minutes."""
    dispatch = a_dispatch(Queue.FIFO, GROUP)
    await queues.sender.send([dispatch])
    await queues.receiver.acknowledge(await queues.receive(Queue.FIFO))
    await queues.sender.send([replace(dispatch, **change)])  # type: ignore[arg-type]
    assert await waiting(queues) == [dispatch.task_id]


async def test_a_group_comes_in_order_and_one_at_a_time(queues: Queues) -> None:
    dispatches = [a_dispatch(Queue.FIFO, GROUP) for _ in range(3)]
    for dispatch in dispatches:
        await queues.sender.send([dispatch])
    received = []
    for _ in dispatches:
        [message] = await queues.received_now(Queue.FIFO, limit=1)
        assert await waiting(queues) == []
        received.append(decode(message.body))
        await queues.receiver.acknowledge(message)
    assert received == [dispatch.task_id for dispatch in dispatches]


async def test_a_group_holds_no_other_up(queues: Queues) -> None:
    held, behind, other = (
        a_dispatch(Queue.FIFO, GROUP),
        a_dispatch(Queue.FIFO, GROUP),
        a_dispatch(Queue.FIFO, OTHER),
    )
    await queues.sender.send([held, behind, other])
    first: Message = await queues.receive(Queue.FIFO)
    assert decode(first.body) == held.task_id
    assert await waiting(queues) == [other.task_id]


async def test_a_released_message_comes_before_those_behind_it(queues: Queues) -> None:
    dispatches = [a_dispatch(Queue.FIFO, GROUP) for _ in range(2)]
    await queues.sender.send(dispatches)
    [message] = await queues.received_now(Queue.FIFO, limit=1)
    await queues.receiver.hide(message, timedelta(0))
    [again] = await queues.received_now(Queue.FIFO, limit=1)
    assert (again.body, again.receive_count) == (message.body, 2)


async def test_dead_letters_of_ordered_tasks_go_to_the_fifo_queue_for_them(queues: Queues) -> None:
    letters = [a_letter(str(queue), queue=queue) for queue in Queue]
    assert await queues.sender.send_dead_letters(letters) == letters
    assert {found["Body"] for found in await queues.dead_letters()} == {"high", "normal", "low"}
    [found] = await queues.dead_letters(Queue.FIFO)
    assert found["Body"] == "fifo"
    assert found["MessageAttributes"]["attempt"]["StringValue"] == "3"


async def test_dead_letters_of_one_group_wait_for_none_of_them(queues: Queues) -> None:
    """They are read one by one, and none of them may hide the others."""
    letters = [a_letter(queue=Queue.FIFO) for _ in range(3)]
    await queues.sender.send_dead_letters(letters)
    one = await queues.client.request(
        "receive_message", QueueUrl=queues.dead_letter_urls[Queue.FIFO], MaxNumberOfMessages=1
    )
    assert len(one["Messages"]) == 1
    assert len(await queues.dead_letters(Queue.FIFO)) == 2


async def test_a_dead_letter_that_is_sent_twice_arrives_once(queues: Queues) -> None:
    letter = a_letter(queue=Queue.FIFO)
    for _ in range(2):
        assert await queues.sender.send_dead_letters([letter]) == [letter]
    assert len(await queues.dead_letters(Queue.FIFO)) == 1
