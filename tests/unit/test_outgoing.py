"""The sending half of a connection, against a client that reads when the test lets it."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from gql.outgoing import Outgoing


class Client:
    """Takes messages while it `reads`; then `send` waits, as a server's does while its buffer is full."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.gone = False

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        if self.gone:
            raise OSError("gone")
        self.taken.append(message["text"])

    def outgoing(self) -> Outgoing:
        return Outgoing(self.send)


def message(text: object) -> Message:
    return {"type": "websocket.send", "text": text}


async def test_client_that_reads_is_sent_all_at_once_and_without_a_task() -> None:
    client = Client()
    outgoing = client.outgoing()
    tasks = len(asyncio.all_tasks())
    for number in range(3):
        outgoing.put("task", message(number))
    assert client.taken == [0, 1, 2]
    assert len(asyncio.all_tasks()) == tasks
    assert outgoing.stuck_seconds(1e9) == 0


async def test_client_that_does_not_read_gets_the_newest_of_each_thing_then_what_was_added() -> None:
    client = Client()
    outgoing = client.outgoing()
    client.reads.clear()
    for number in range(100):
        outgoing.put("a", message(("a", number)))
        outgoing.put("b", message(("b", number)))
    outgoing.add("b", message("the end of b"))
    client.reads.set()
    await outgoing.drained()
    # The first was on its way already.
    assert client.taken == [("a", 0), ("b", 99), "the end of b", ("a", 99)]


async def test_what_need_not_wait_is_sent_now_and_the_rest_in_its_turn() -> None:
    client = Client()
    now: list[Any] = []

    def send_now(message: Message) -> bool:
        if client.reads.is_set():
            now.append(message["text"])
        return client.reads.is_set()

    outgoing = Outgoing(client.send, send_now)
    outgoing.put("task", message(1))
    client.reads.clear()
    outgoing.put("task", message(2))
    outgoing.put("task", message(3))
    client.reads.set()
    outgoing.put("task", message(4))  # nothing overtakes what is on its way
    await outgoing.drained()
    outgoing.put("task", message(5))
    outgoing.close(message(6))
    outgoing.put("task", message(7))
    assert (now, client.taken) == ([1, 5, 6], [2, 4])


async def test_what_nobody_wants_any_more_is_not_sent() -> None:
    client = Client()
    outgoing = client.outgoing()
    client.reads.clear()
    for key in "abc":
        outgoing.put(key, message(key))
    outgoing.discard("b")
    client.reads.set()
    await outgoing.drained()
    assert client.taken == ["a", "c"]


async def test_last_message_takes_the_place_of_all_that_waits() -> None:
    client = Client()
    outgoing = client.outgoing()
    client.reads.clear()
    for key in "abc":
        outgoing.put(key, message(key))
    outgoing.close(message("bye"))
    outgoing.put("d", message("d"))
    client.reads.set()
    await outgoing.drained()
    outgoing.put("e", message("e"))
    assert client.taken == ["a", "bye"]


async def test_writer_is_there_only_while_something_waits() -> None:
    client = Client()
    outgoing = client.outgoing()
    tasks = len(asyncio.all_tasks())
    client.reads.clear()
    outgoing.put("a", message("a"))
    assert len(asyncio.all_tasks()) == tasks + 1
    client.reads.set()
    await outgoing.drained()
    assert len(asyncio.all_tasks()) == tasks
    outgoing.put("b", message("b"))
    assert client.taken == ["a", "b"]


async def test_stuck_client_is_noticed_and_a_slow_one_is_not() -> None:
    client = Client()
    outgoing = client.outgoing()
    clock = asyncio.get_running_loop().time
    client.reads.clear()
    outgoing.put("a", message("a"))
    outgoing.put("b", message("b"))
    assert 0 <= outgoing.stuck_seconds(clock()) < 60
    assert outgoing.stuck_seconds(clock() + 60) >= 60
    client.reads.set()
    await outgoing.drained()
    assert outgoing.stuck_seconds(clock() + 60) == 0


@pytest.mark.parametrize("waits", [False, True])
async def test_client_that_has_gone_costs_nothing_more(waits: bool) -> None:
    client = Client()
    outgoing = client.outgoing()
    client.gone = True
    if waits:
        client.reads.clear()
    outgoing.put("a", message("a"))
    outgoing.put("b", message("b"))
    client.reads.set()
    await outgoing.drained()
    outgoing.put("c", message("c"))
    assert outgoing.closed
    assert client.taken == []


async def test_full_is_told() -> None:
    client = Client()
    outgoing = client.outgoing()
    client.reads.clear()
    full = []
    for number in range(1_001):
        outgoing.put(number, message(number))
        full.append(outgoing.is_full)
    client.reads.set()
    await outgoing.drained()
    full.append(outgoing.is_full)
    assert full == [False] * 1_000 + [True, False]
    assert client.taken == list(range(1_001))
