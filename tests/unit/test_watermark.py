"""How far the queues have been delivered, from what polls answer."""

from datetime import datetime, timedelta
from uuid import uuid4

from consumer.watermark import Watermarks
from taskql.message import encode
from taskql.ports import Message
from taskql.queues import Queue
from tests.unit.scripted import NOTHING, NOW, a_message

MINUTE = timedelta(minutes=1)
LONG, SHORT = timedelta(seconds=1), NOTHING


class Written(list[tuple[Queue, datetime]]):
    async def __call__(self, queue: Queue, sent_at: datetime) -> None:
        self.append((queue, sent_at))


def sent(at: datetime) -> Message:
    return Message(encode(uuid4()), "receipt", Queue.NORMAL, at, 1)


async def test_a_watermark_is_the_newest_time_of_sending() -> None:
    written = Written()
    watermarks = Watermarks(written)
    watermarks.note(Queue.NORMAL, [sent(NOW + MINUTE * each) for each in (5, 9, 7)], NOW, LONG)
    await watermarks._write()
    assert written == [(Queue.NORMAL, NOW + MINUTE * 9)]


async def test_an_empty_long_poll_raises_the_watermark_to_its_beginning() -> None:
    written = Written()
    watermarks = Watermarks(written)
    watermarks.note(Queue.NORMAL, [a_message()], NOW + 9 * MINUTE, LONG)
    watermarks.note(Queue.NORMAL, [], NOW + MINUTE, LONG)
    watermarks.note(Queue.NORMAL, [a_message()], NOW + 9 * MINUTE, LONG)
    await watermarks._write()
    await watermarks._write()
    assert written == [(Queue.NORMAL, NOW + MINUTE)], "it never falls, and is written when it rose"


async def test_an_empty_short_poll_says_nothing() -> None:
    written = Written()
    watermarks = Watermarks(written)
    watermarks.note(Queue.NORMAL, [], NOW, SHORT)
    await watermarks._write()
    assert written == []


async def test_each_queue_has_a_watermark_of_its_own() -> None:
    written = Written()
    watermarks = Watermarks(written)
    watermarks.note(Queue.NORMAL, [], NOW + MINUTE, LONG)
    watermarks.note(Queue.FIFO, [], NOW, LONG)
    await watermarks._write()
    assert dict(written) == {Queue.NORMAL: NOW + MINUTE, Queue.FIFO: NOW}
