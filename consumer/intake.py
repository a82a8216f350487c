"""Brings messages into free slots: asks the queues in turn, and lets silent ones keep listening.

Every poll is a long one. It asks for its queue's portion of the free slots, which are promised to it for a
head start. If the queue has messages, it answers within that, and stays in line. If it stays silent, others
may have the slots, while its poll stays open: so an idle worker listens to all queues, and a busy one knows
without asking that a queue is still empty. What such a poll brings while no slot is free goes back at once,
and its queue joins the line.

A queue that brings messages is asked again before it has answered, once many slots are free. A few wait for
the answer, so that one request fills many.

Invariants: a poll is opened only for slots that are free and promised to no other; a queue has one, or two
while it brings messages; and each is left to finish, because a cancelled one can swallow the message that it
was about to bring.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from consumer.slots import Slots
from consumer.turns import Turns
from consumer.watermark import Watermarks
from taskql.errors import Unavailable
from taskql.ports import POLLS_OF_A_QUEUE, SQS_MAX_BATCH, Message, MessageReceiver
from taskql.queues import Queue
from taskql.upkeep.pace import Backoff

HEAD_START = timedelta(milliseconds=100)
"""How long a queue may take to bring what it has, before others have its slots: some round trips."""

PROMPT = timedelta(milliseconds=500)
"""An answer that takes no longer tells how the queue was when it was asked. If it had messages, it keeps its
place in line, although they come from afar; if it was empty (TASKQL_POLL_SECONDS=0), it is not asked sooner.
"""

ANSWER = timedelta(seconds=5)
"""How much longer than its wait an answer may take, while a worker that stops waits for it."""

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Poll:
    """A request for up to `limit` messages. Once it has no slots `promised`, it is there to listen."""

    queue: Queue
    limit: int
    promised: int


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
        self._polls: dict[Queue, set[Poll]] = {queue: set() for queue in Queue}
        self._brought: dict[Queue, int] = {}  # by the last answer
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
                while self._ask_next():
                    pass
                await self._stirred.wait()
        finally:
            stop.cancel()

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

    # ------------------------------------------------------------ whom to ask

    def _ask_next(self) -> bool:
        """Open a poll of the queue whose turn it is; False where there is no room or nobody to ask."""
        room = self._slots.free - self._turns.promised
        among = [queue for queue in self._turns.in_line if self._may_be_asked(queue, room)]
        queue = self._turns.first(among)
        if queue is None or room <= 0:
            return False
        limit = self._turns.portion(room, among)
        # One that was silent up to now most likely still is: one slot will do to find out.
        self._open(Poll(queue, limit, 1 if self._brought.get(queue) == 0 else limit))
        return True

    def _may_be_asked(self, queue: Queue, room: int) -> bool:
        polls = self._polls[queue]
        if len(polls) >= POLLS_OF_A_QUEUE:
            return False
        if not any(poll.promised for poll in polls):
            return True
        return bool(self._brought.get(queue)) and room >= min(self._slots.count // 2, SQS_MAX_BATCH)

    # ------------------------------------------------------------ one poll

    def _open(self, poll: Poll) -> None:
        self._polls[poll.queue].add(poll)
        self._turns.promise(poll.queue, poll.promised)
        self._spawn(self._requests, self._listen(poll))

    async def _listen(self, poll: Poll) -> None:
        loop, asked_at, queue = asyncio.get_running_loop(), datetime.now(UTC), poll.queue
        prompt = loop.time() + PROMPT.total_seconds()
        silence = loop.call_later(HEAD_START.total_seconds(), self._fall_silent, poll)
        try:
            messages = await self._receiver.receive(queue, poll.limit, self._wait)
        except Exception as error:
            return self._let_rest(queue, partial(self._backoffs[queue].pause, f"receive ({queue})", error))
        finally:
            silence.cancel()
            self._take_back(poll)
            self._polls[queue].discard(poll)
        self._backoffs[queue].reset()
        self._watermarks.note(queue, messages, asked_at, self._wait)
        self._brought[queue] = len(messages)
        rest = prompt - loop.time()
        if messages and rest > 0:
            self._turns.resume(queue)
        elif rest > 0:
            return self._let_rest(queue, partial(asyncio.sleep, rest))
        elif messages or not self._polls[queue]:
            self._turns.join(queue)
        self._deal(queue, messages)
        self._stirred.set()

    def _fall_silent(self, poll: Poll) -> None:
        """The queue has nothing, as far as we know; its poll tells when that changes."""
        self._take_back(poll)
        self._turns.leave(poll.queue)
        self._stirred.set()

    def _take_back(self, poll: Poll) -> None:
        """Keep no slot for the poll any more."""
        self._turns.promise(poll.queue, -poll.promised)
        poll.promised = 0

    def _let_rest(self, queue: Queue, pause: Callable[[], Awaitable[None]]) -> None:
        """Ask the queue again only after the pause."""

        async def rest() -> None:
            await pause()
            self._turns.join(queue)
            self._stirred.set()

        self._turns.leave(queue)
        self._stirred.set()
        self._spawn(self._rests, rest())

    # ------------------------------------------------------------ what it brings

    def _deal(self, queue: Queue, messages: Sequence[Message]) -> None:
        """Start what there are free slots for."""
        room = 0 if self._stopping.is_set() else self._slots.free
        for message in messages[:room]:
            self._slots.start(message)
        self._turns.took(queue, len(messages[:room]))
        for message in messages[room:]:
            self._spawn(self._requests, self._give_back(message))

    async def _give_back(self, message: Message) -> None:
        try:
            await self._receiver.hide(message, timedelta(0))
        except Unavailable as error:
            log.warning("a message stays invisible until its time-out: %s", error)

    def _spawn(self, among: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        among.add(task)
        task.add_done_callback(among.discard)
