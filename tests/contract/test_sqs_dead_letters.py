"""Dead letters on the real queues: they tell what is known, and arrive whatever they hold."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from taskql.adapters.sqs.sender import MAX_MESSAGE_BYTES
from taskql.devstack import DevStack
from taskql.errors import Unavailable
from taskql.ports import DeadLetter
from taskql.queues import Queue
from tests.contract.own_queues import Clients, Queues, a_letter, new_queues, open_clients


@pytest.fixture(scope="module", params=[True, False], ids=["lean", "botocore"])
async def clients(stack: DevStack, request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    async with open_clients(stack, lean=request.param) as opened:
        yield opened


@pytest.fixture
async def queues(stack: DevStack, clients: Clients) -> Queues:
    return await new_queues(stack, clients)


async def test_a_dead_letter_tells_what_is_known(queues: Queues) -> None:
    letter = a_letter()
    assert await queues.sender.send_dead_letters([letter]) == [letter]
    [found] = await queues.dead_letters()
    assert found["Body"] == "a body"
    told = {name: value["StringValue"] for name, value in found["MessageAttributes"].items()}
    assert told == {"task_id": str(letter.task_id), "attempt": "3", "reason": "a reason"}


async def test_a_foreign_message_s_letter_has_no_task(queues: Queues) -> None:
    letter = DeadLetter(uuid4(), "", "who am I", None, None, Queue.NORMAL, datetime.now(UTC))
    assert await queues.sender.send_dead_letters([letter]) == [letter]
    [found] = await queues.dead_letters()
    assert set(found["MessageAttributes"]) == {"reason"}


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ("a\x00b\x01\x1f\ufffe\uffff", "a\ufffdb\ufffd\ufffd\ufffd\ufffd"),
        ("\ud800", "\ufffd"),
        ("\t\r\n\x7f é 🚀", "\t\r\n\x7f é 🚀"),
        ("", "(empty)"),
    ],
)
async def test_characters_that_sqs_refuses_are_replaced(queues: Queues, body: str, sent: str) -> None:
    assert await queues.sender.send_dead_letters([a_letter(body, reason=body)])
    [found] = await queues.dead_letters()
    assert found["Body"] == sent
    assert found["MessageAttributes"]["reason"]["StringValue"] == sent


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's advice, not a fault
async def test_the_largest_messages_fit_with_their_reasons(queues: Queues) -> None:
    letters = [a_letter("é" * (MAX_MESSAGE_BYTES // 2), reason="r" * 100_000) for _ in range(2)]
    assert await queues.sender.send_dead_letters(letters) == letters
    assert len(await queues.dead_letters()) == 2


async def test_a_letter_that_is_refused_holds_no_other_up(queues: Queues) -> None:
    await queues.client.request(
        "set_queue_attributes",
        QueueUrl=queues.dead_letter_urls[Queue.NORMAL],
        Attributes={"MaximumMessageSize": "1024"},
    )
    small, large = a_letter(), a_letter("x" * 5000)
    assert await queues.sender.send_dead_letters([large, small]) == [small]
    with pytest.raises(Unavailable):
        await queues.sender.send_dead_letters([large])
