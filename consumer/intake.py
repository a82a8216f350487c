"""Brings messages into free slots: asks the queues in turn, and lets silent ones keep listening.

Every poll is a long one. With slots free, the first in line is asked for its portion of them. If it has
messages, it answers at once and stays in line. If it stays silent for a head start, the next is asked, while
its poll stays open: so an idle worker listens to all queues, and a busy one knows without asking that a queue
is still empty. What such a poll brings while no slot is free goes back at once, and its queue joins the line.

Invariants: at most one poll of a queue is open; one is opened only while a slot is free; and it is always
left to finish, because a cancelled one can swallow the message that it was about to bring.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from consumer.slots import Slots
from consumer.turns import Turns
from consumer.watermark import Watermarks
from taskql.errors import Unavailable
from taskql.ports import SQS_MAX_BATCH, Message, MessageReceiver
from taskql.queues import Queue
from taskql.upkeep.pace import Backoff
from taskql.waiting import wait_for

HEAD_START = timedelta(milliseconds=100)
"""How long a queue may take to bring what it has, before the next is asked as well: some round trips."""

GATHER = timedelta(milliseconds=5)
"""How long a busy worker waits for more of its slots to become free, so that one request fills many."""

PROMPT = timedelta(milliseconds=500)
"""An answer that takes no longer tells how the queue was when it was asked. If it had messages, it keeps its
place in line, although they come from afar; if it was empty (TASKQL_POLL_SECONDS=0), it is not asked sooner.
"""

ANSWER = timedelta(seconds=5)
"""How much longer than its wait an answer may take, while a worker that stops waits for it."""

log = logging.getLogger(__name__)


class Intake:
    """Fills the slots until the worker stops."""

    def __init__(
        self,
        receiver: MessageReceiver,
        slots: Slots,
        watermarks: Watermarks,
        stopping: asyncio.Event,
        poll: timedelta,
    ) -> None:
        self._receiver = receiver
        self._slots = slots
        self._watermarks = watermarks
        self._stopping = stopping
        self._wait = poll
        self._turns = Turns()
        self._backoffs = {queue: Backoff() for queue in Queue}
        self._requests: set[asyncio.Task[None]] = set()
        self._rests: set[asyncio.Task[None]] = set()
        self._stirred = asyncio.Event()

    async def run(self) -> None:
        """Ask for messages until the worker stops."""
        stop = asyncio.create_task(self._stopping.wait())
        stop.add_done_callback(lambda _: self._stirred.set())
        self._slots.when_freed(self._stirred.set)
        try:
            while not self._stopping.is_set():
                self._stirred.clear()
                if self._turns.first() is None or not self._slots.free:
                    await self._stirred.wait()
                    continue
                await self._gather()
                queue = self._turns.first()
                # Meanwhile an open poll may have brought something, or the worker was stopped.
                if queue is not None and self._slots.free and not self._stopping.is_set():
                    await self._ask(queue)
        finally:
            stop.cancel()

    async def _gather(self) -> None:
        """Give slots that become free one after another the time to do so together."""
        loop = asyncio.get_running_loop()
        end = loop.time() + GATHER.total_seconds()
        while (
            self._slots.executions
            and self._slots.free < min(self._slots.count // 2, SQS_MAX_BATCH)
            and not self._stopping.is_set()
            and (left := end - loop.time()) > 0
        ):
            self._stirred.clear()
            await wait_for(self._stirred, left)

    async def finish(self) -> None:
        """Let the open polls end, and give back what they bring."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout((self._wait + ANSWER).total_seconds()):
                while self._requests:
                    await asyncio.wait(self._requests)
        for request in self._requests:
            log.warning("SQS has not answered in time; what it may still bring comes again later")
            request.cancel()
        for rest in self._rests:
            rest.cancel()

    async def _ask(self, queue: Queue) -> None:
        """Open a poll of the queue; wait for its answer no longer than its head start."""
        poll = self._spawn(self._requests, self._poll(queue, self._turns.portion(self._slots.free)))
        await asyncio.wait((poll,), timeout=HEAD_START.total_seconds())
        if not poll.done():
            self._turns.leave(queue)

    async def _poll(self, queue: Queue, limit: int) -> None:
        loop, asked_at = asyncio.get_running_loop(), datetime.now(UTC)
        prompt = loop.time() + PROMPT.total_seconds()
        try:
            messages = await self._receiver.receive(queue, limit, self._wait)
        except Exception as error:
            return self._let_rest(queue, partial(self._backoffs[queue].pause, f"receive ({queue})", error))
        self._backoffs[queue].reset()
        self._watermarks.note(queue, messages, asked_at, self._wait)
        rest = prompt - loop.time()
        if messages and rest > 0:
            self._turns.resume(queue)
        elif rest > 0:
            return self._let_rest(queue, partial(asyncio.sleep, rest))
        self._join(queue)
        self._deal(queue, messages)

    def _deal(self, queue: Queue, messages: Sequence[Message]) -> None:
        """Start what there are free slots for."""
        room = 0 if self._stopping.is_set() else self._slots.free
        for message in messages[:room]:
            self._slots.start(message)
        self._turns.took(queue, len(messages[:room]))
        for message in messages[room:]:
            self._spawn(self._requests, self._give_back(message))

    def _let_rest(self, queue: Queue, pause: Callable[[], Awaitable[None]]) -> None:
        """Ask the queue again only after the pause."""

        async def rest() -> None:
            await pause()
            self._join(queue)

        self._turns.leave(queue)
        self._spawn(self._rests, rest())

    def _join(self, queue: Queue) -> None:
        self._turns.join(queue)
        self._stirred.set()

    async def _give_back(self, message: Message) -> None:
        try:
            await self._receiver.hide(message, timedelta(0))
        except Unavailable as error:
            log.warning("a message stays invisible until its time-out: %s", error)

    def _spawn(self, among: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)
        return task
