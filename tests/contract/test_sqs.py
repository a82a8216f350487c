"""MessageSender and MessageReceiver against the real queues, and without them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import Any
from uuid import uuid4

import pytest

from taskql.adapters.sqs import SqsClient, SqsReceiver, SqsSender, open_client, open_receiver, open_sender
from taskql.devstack import DevStack
from taskql.errors import StartupError, Unavailable
from taskql.message import decode
from taskql.ports import SQS_MAX_BATCH, Message
from taskql.queues import Queue
from tests.contract.own_queues import (
    LONG,
    VISIBILITY,
    Clients,
    Queues,
    a_dispatch,
    a_letter,
    new_queues,
    open_clients,
)

DEADLINE_SECONDS = 60
SOON = timedelta(seconds=1)


@pytest.fixture(scope="module", params=[True, False], ids=["lean", "botocore"])
async def clients(stack: DevStack, request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    async with open_clients(stack, lean=request.param) as opened:
        yield opened


@pytest.fixture
async def queues(stack: DevStack, clients: Clients) -> Queues:
    return await new_queues(stack, clients)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """A stack whose SQS these tests may kill and freeze."""
    with DevStack(data=tmp_path_factory.mktemp("fragile"), say=lambda _: None) as stack:
        yield stack


@pytest.fixture(scope="module")
async def fragile_clients(fragile: DevStack) -> AsyncIterator[list[Clients]]:
    """A lean one and botocore's: what befalls SQS befalls both at once."""
    async with open_clients(fragile) as ours, open_clients(fragile, lean=False) as botocores:
        yield [ours, botocores]


@pytest.fixture
async def fragile_queues(fragile: DevStack, fragile_clients: list[Clients]) -> AsyncIterator[list[Queues]]:
    """For each of the clients, queues that it is at work on."""
    yield [await new_queues(fragile, clients) for clients in fragile_clients]
    fragile.sqs.resume()
    fragile.sqs.start()


# ---------------------------------------------------------------- sending and receiving


async def test_what_is_sent_is_received(queues: Queues) -> None:
    before = datetime.now(UTC)
    [dispatch] = await queues.send()
    message = await queues.receive()
    assert decode(message.body) == dispatch.task_id
    assert message.queue is Queue.NORMAL
    assert message.ordering_group is None
    assert message.receive_count == 1
    assert before - SOON <= message.sent_at <= datetime.now(UTC) + SOON


async def test_ten_go_in_one_batch(queues: Queues) -> None:
    dispatches = await queues.send(SQS_MAX_BATCH)
    received = await queues.receiver.receive(Queue.NORMAL, SQS_MAX_BATCH, LONG)
    assert {decode(message.body) for message in received} == {dispatch.task_id for dispatch in dispatches}


async def test_each_queue_is_polled_by_name(queues: Queues) -> None:
    sent = {queue: (await queues.send(queue=queue))[0].task_id for queue in Queue}
    received = {queue: await queues.receive(queue) for queue in reversed(Queue)}
    assert {queue: decode(message.body) for queue, message in received.items()} == sent
    assert all(message.queue is queue for queue, message in received.items())
    for message in received.values():
        await queues.receiver.acknowledge(message)
        await queues.receiver.hide(message, timedelta(0))
    assert [await queues.received_now(queue) for queue in Queue] == [[]] * len(Queue)


async def test_a_poll_gets_nothing_of_another_queue(queues: Queues) -> None:
    await queues.send(queue=Queue.HIGH)
    assert await queues.received_now(Queue.LOW) == []
    assert len(await queues.received_now(Queue.HIGH)) == 1


async def test_sending_nothing_is_no_request(queues: Queues) -> None:
    assert await queues.sender.send([]) == []
    assert await queues.sender.send_dead_letters([]) == []


async def test_no_more_is_received_than_there_is_room_for(queues: Queues) -> None:
    await queues.send(3)
    assert len(await queues.receiver.receive(Queue.NORMAL, 2, LONG)) == 2
    assert len(await queues.receiver.receive(Queue.NORMAL, 1000, LONG)) == 1


async def test_an_empty_queue_answers_with_nothing(queues: Queues) -> None:
    assert await queues.receiver.receive(Queue.NORMAL, 10, timedelta(0)) == []
    assert await queues.receiver.receive(Queue.NORMAL, 10, timedelta(milliseconds=10)) == []


async def test_a_waiting_poll_gets_what_comes_later(queues: Queues) -> None:
    poll = asyncio.create_task(queues.receiver.receive(Queue.NORMAL, 1, LONG))
    [dispatch] = await queues.send()
    [message] = await poll
    assert decode(message.body) == dispatch.task_id


async def test_an_acknowledged_message_is_gone(queues: Queues) -> None:
    await queues.send()
    message = await queues.receive()
    await queues.receiver.acknowledge(message)
    await queues.receiver.hide(message, timedelta(0))
    assert await queues.received_now() == []


async def test_a_received_message_is_hidden_until_it_is_released(queues: Queues) -> None:
    await queues.send()
    message = await queues.receive()
    assert await queues.received_now() == []
    await queues.receiver.hide(message, timedelta(0))
    again = await queues.receive()
    assert (again.body, again.receive_count) == (message.body, 2)


async def test_a_hidden_message_comes_back_by_itself(queues: Queues) -> None:
    await queues.send()
    message = await queues.receive()
    await queues.receiver.hide(message, SOON)
    assert (await queues.receive()).body == message.body


@pytest.mark.parametrize("duration", [timedelta(days=30), timedelta(seconds=-5)])
async def test_a_duration_beyond_what_sqs_can_do_is_capped(queues: Queues, duration: timedelta) -> None:
    await queues.send()
    await queues.receiver.hide(await queues.receive(), duration)


async def test_a_stale_receipt_is_harmless(queues: Queues) -> None:
    await queues.send()
    stale = replace(await queues.receive(), receipt=str(uuid4()))
    await queues.receiver.acknowledge(stale)
    await queues.receiver.hide(stale, SOON)


async def test_acknowledging_does_not_wait_behind_long_polls(queues: Queues) -> None:
    await queues.send()
    message = await queues.receive()
    polls = [asyncio.create_task(queues.receiver.receive(Queue.NORMAL, 1, LONG)) for _ in range(10)]
    await queues.receiver.hide(message, SOON)
    await queues.receiver.acknowledge(message)
    assert not any(poll.done() for poll in polls)
    for poll in polls:
        poll.cancel()
    await asyncio.gather(*polls, return_exceptions=True)


async def test_ping_is_content_with_a_queue(queues: Queues) -> None:
    await queues.receiver.ping()


async def test_ping_names_a_queue_that_is_not_there(stack: DevStack, clients: Clients) -> None:
    url = stack.env["SQS_QUEUE_URL"] + "-misspelt"
    urls = {Queue.NORMAL: stack.env["SQS_QUEUE_URL"], Queue.LOW: url}
    receiver = SqsReceiver(urls, VISIBILITY, polling=clients.polling, control=clients.control)
    with pytest.raises(Unavailable, match=r"taskql-misspelt can't be used: SQS refused"):
        await receiver.ping()


async def test_sender_and_receiver_open_their_own_clients(
    stack: DevStack, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", stack.env["AWS_ACCESS_KEY_ID"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", stack.env["AWS_SECRET_ACCESS_KEY"])
    place: dict[str, Any] = {
        "endpoint_url": stack.env["AWS_ENDPOINT_URL"],
        "region": stack.env["AWS_REGION"],
    }
    async with (
        open_sender(queues.urls, queues.dead_letter_urls, **place) as sender,
        open_receiver(queues.urls, VISIBILITY, **place) as receiver,
    ):
        [dispatch] = await sender.send([a_dispatch()])
        [message] = await receiver.receive(Queue.NORMAL, 1, LONG)
        assert decode(message.body) == dispatch.task_id
        await receiver.acknowledge(message)


async def test_each_queue_can_be_polled_at_once(
    stack: DevStack, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a short poll of each beside them, as a worker makes them that has little room."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", stack.env["AWS_ACCESS_KEY_ID"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", stack.env["AWS_SECRET_ACCESS_KEY"])
    place: dict[str, Any] = {
        "endpoint_url": stack.env["AWS_ENDPOINT_URL"],
        "region": stack.env["AWS_REGION"],
    }
    async with open_receiver(queues.urls, VISIBILITY, **place) as receiver, asyncio.timeout(DEADLINE_SECONDS):
        polls = [asyncio.create_task(receiver.receive(queue, 1, LONG)) for queue in Queue]
        await asyncio.gather(*(receiver.receive(queue, 1, timedelta(0)) for queue in Queue))
        for queue in Queue:
            await queues.send(2, queue)
        assert [len(messages) for messages in await asyncio.gather(*polls)] == [1] * len(Queue)


async def test_what_is_missing_for_a_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StartupError, match="AWS_ENDPOINT_URL"):
        async with open_client(endpoint_url="localhost", region="us-east-1"):
            pass
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(StartupError, match="AWS_REGION"):
        async with open_client():
            pass


async def test_a_queue_is_empty_when_nobody_waits_in_it_nor_is_at_work_on_any(queues: Queues) -> None:
    assert await queues.sender.is_empty(Queue.LOW)
    await queues.send(queue=Queue.LOW)
    assert not await queues.sender.is_empty(Queue.LOW)
    message = await queues.receive(Queue.LOW)
    assert not await queues.sender.is_empty(Queue.LOW)
    await queues.receiver.acknowledge(message)
    assert await queues.sender.is_empty(Queue.LOW)


# ---------------------------------------------------------------- partial failures


async def test_of_acknowledgements_that_come_together_one_that_is_stale_fails_no_other(
    queues: Queues,
) -> None:
    for _ in range(3):
        await queues.send(SQS_MAX_BATCH)
    received: list[Message] = []
    while len(received) < 3 * SQS_MAX_BATCH:
        received += await queues.receiver.receive(Queue.NORMAL, SQS_MAX_BATCH, LONG)
    stale = replace(received[0], receipt=str(uuid4()))
    await asyncio.gather(*map(queues.receiver.acknowledge, [*received[:7], stale, *received[7:]]))
    assert await queues.sender.is_empty(Queue.NORMAL)


async def test_an_acknowledgement_that_is_refused_is_an_outage_and_no_others(
    queues: Queues, clients: Clients
) -> None:
    await queues.send(2)
    received = await queues.receiver.receive(Queue.NORMAL, 2, LONG)
    outcomes = await acknowledged_by(
        RefusingSome(clients.control, lambda index: index == 0), queues, received
    )
    assert [type(outcome) for outcome in outcomes] == [Unavailable, NoneType]


async def test_an_acknowledgement_that_is_refused_is_tried_once_more(
    queues: Queues, clients: Clients
) -> None:
    await queues.send(3)
    received = await queues.receiver.receive(Queue.NORMAL, 3, LONG)
    refusals = iter([False, True, True, False, False])
    refusing = RefusingSome(clients.control, lambda _: next(refusals))
    assert await acknowledged_by(refusing, queues, received) == [None] * 3
    assert await queues.sender.is_empty(Queue.NORMAL)


async def acknowledged_by(
    control: SqsClient, queues: Queues, messages: Sequence[Message]
) -> Sequence[object]:
    """What becomes of acknowledgements that go together."""
    receiver = SqsReceiver(queues.urls, VISIBILITY, polling=queues.client, control=control)
    receipts = [message.receipt for message in messages]
    return await receiver._acknowledgements[Queue.NORMAL]._work(receipts)


class RefusingSome(SqsClient):
    """Of a batch it keeps some messages from the queue, as SQS does when a part of it fails."""

    def __init__(self, client: SqsClient, refuses: Callable[[int], bool]) -> None:
        self._client = client
        self._refuses = refuses

    async def request(self, operation: str, **arguments: Any) -> Any:
        entries = arguments.pop("Entries")
        refused = [entry for index, entry in enumerate(entries) if self._refuses(index)]
        taken = [entry for entry in entries if entry not in refused]
        answer = await self._client.request(operation, Entries=taken, **arguments) if taken else {}
        failed = [{"Id": entry["Id"], "Code": "InternalError", "Message": "try again"} for entry in refused]
        return {**answer, "Failed": failed}


def sender_that(queues: Queues, refuses: Callable[[int], bool]) -> SqsSender:
    return SqsSender(RefusingSome(queues.client, refuses), queues.urls, queues.dead_letter_urls)


async def test_of_a_batch_only_the_refused_stay_behind(queues: Queues) -> None:
    dispatches = [a_dispatch() for _ in range(4)]
    accepted = await sender_that(queues, lambda index: index % 2 == 1).send(dispatches)
    assert accepted == [dispatches[0], dispatches[2]]


async def test_a_batch_of_which_nothing_is_accepted_is_an_outage(queues: Queues) -> None:
    with pytest.raises(Unavailable, match="InternalError"):
        await sender_that(queues, lambda _: True).send([a_dispatch()])


# ---------------------------------------------------------------- outages


async def outcomes(all_queues: list[Queues]) -> list[object]:
    """What each of the ports' methods does at present, by each client."""
    message = Message("{}", str(uuid4()), Queue.NORMAL, datetime.now(UTC), 1)
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await asyncio.gather(
            *(queues.sender.send([a_dispatch()]) for queues in all_queues),
            *(queues.sender.send_dead_letters([a_letter()]) for queues in all_queues),
            *(queues.receiver.acknowledge(message) for queues in all_queues),
            *(queues.receiver.hide(message, SOON) for queues in all_queues),
            *(queues.receiver.ping() for queues in all_queues),
            return_exceptions=True,
        )


async def polled(all_queues: list[Queues]) -> list[object]:
    """What a long poll of each client brings."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        polls = (queues.receiver.receive(Queue.NORMAL, 1, LONG) for queues in all_queues)
        return await asyncio.gather(*polls, return_exceptions=True)


async def test_without_sqs_everything_is_unavailable_and_works_again_after(
    fragile: DevStack, fragile_queues: list[Queues]
) -> None:
    fragile.sqs.kill()
    assert {type(outcome) for outcome in await outcomes(fragile_queues)} == {Unavailable}
    assert {type(outcome) for outcome in await polled(fragile_queues)} == {Unavailable}
    fragile.sqs.start()
    for queues in fragile_queues:
        await queues.make()
    assert not any(isinstance(outcome, Exception) for outcome in await outcomes(fragile_queues))


async def test_a_poll_that_is_open_when_sqs_dies_is_an_outage(
    fragile: DevStack, fragile_queues: list[Queues]
) -> None:
    polls = asyncio.create_task(polled(fragile_queues))
    for queues in fragile_queues:
        await queues.receiver.ping()  # it set out later, so the poll has most likely arrived
    fragile.sqs.kill()
    assert {type(outcome) for outcome in await polls} == {Unavailable}


async def test_a_frozen_sqs_holds_nobody_up(fragile: DevStack, fragile_queues: list[Queues]) -> None:
    fragile.sqs.pause()
    assert {type(outcome) for outcome in await outcomes(fragile_queues)} == {Unavailable}


async def test_a_queue_that_is_gone_is_an_outage_not_a_crash(queues: Queues) -> None:
    await queues.client.request("delete_queue", QueueUrl=queues.urls[Queue.NORMAL])
    with pytest.raises(Unavailable, match="NonExistentQueue"):
        await queues.receiver.receive(Queue.NORMAL, 1, timedelta(0))
    with pytest.raises(Unavailable, match="NonExistentQueue"):
        await queues.sender.send([a_dispatch()])


async def test_a_proxy_of_the_environment_is_not_asked_for_an_emulator_on_this_machine(
    stack: DevStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    async with open_client(
        endpoint_url=stack.env["AWS_ENDPOINT_URL"], region=stack.env["AWS_REGION"]
    ) as client:
        await client.ping(stack.env["SQS_QUEUE_URL"])
