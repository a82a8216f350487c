"""Asks Redis: many questions in one round trip, and none that waits for a slow server.

Invariant: one round trip at a time. What is asked meanwhile goes with the next one; if one takes longer than
a moment, whoever waits goes without an answer, and so does everybody else until Redis has answered.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Hashable, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from taskql.adapters.redis.connections import OUTAGE, account
from taskql.adapters.redis.nodes import Command, Nodes

logger = logging.getLogger(__name__)

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")

PATIENCE_SECONDS = 0.1
PAUSE_SECONDS = 1.0
"""After a failure, nobody asks for so long."""
CANCEL_AGAIN_SECONDS = 0.2
BATCH = 200


class Questions(Generic[Question, Answer]):
    """Questions of one kind, from `async with` on. `read` makes an answer of a reply, or raises."""

    def __init__(
        self,
        nodes: Nodes,
        what: str,
        command: Callable[[Question], Command],
        read: Callable[[Any], Answer | None],
    ) -> None:
        self._nodes = nodes
        self._what = what
        self._command = command
        self._read = read
        self._wanted: dict[Question, asyncio.Future[Answer | None]] = {}
        self._wake = asyncio.Event()
        self._shut = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.create_task(self._run(), name=f"redis {self._what}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A cancellation that meets redis-py while it connects can get lost there: ask until it has ended.
        while not self._loop.done():
            self._loop.cancel()
            await asyncio.wait([self._loop], timeout=CANCEL_AGAIN_SECONDS)
        self._send_away(())
        await self._nodes.aclose()

    async def ask(self, question: Question) -> Answer | None:
        """Equal questions that wait share an answer. None where Redis gives none, or not soon."""
        if self._shut:
            return None
        answer = self._wanted.get(question)
        if answer is None:
            answer = self._wanted[question] = asyncio.get_running_loop().create_future()
            self._wake.set()
        return await asyncio.shield(answer)

    # ------------------------------------------------------------ the loop

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            questions = list(self._wanted)[:BATCH]
            answers = [self._wanted.pop(question) for question in questions]
            if not self._wanted:
                self._wake.clear()
            try:
                async with self._impatience(answers):
                    replies = await self._nodes.run([self._command(question) for question in questions])
                for answer, reply in zip(answers, replies, strict=True):
                    resolve(answer, self._read(reply))
                self._shut = False
            except OUTAGE as error:
                await self._stay_away(answers, account(error))
            except Exception as error:
                logger.exception("Redis can't be asked for %s", self._what)
                await self._stay_away(answers, account(error))
            finally:
                for answer in answers:  # those of a loop that is cancelled, too
                    resolve(answer, None)

    @asynccontextmanager
    async def _impatience(self, answers: Iterable[asyncio.Future[Answer | None]]) -> AsyncIterator[None]:
        """Whoever waits for longer than a moment is sent away, while we go on."""
        timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._send_away, answers)
        try:
            yield
        finally:
            timer.cancel()

    def _send_away(self, answers: Iterable[asyncio.Future[Answer | None]]) -> None:
        """No more answers, neither to these nor to those who have come meanwhile, nor to those to come."""
        self._shut = True
        for answer in [*answers, *self._wanted.values()]:
            resolve(answer, None)
        self._wanted.clear()
        self._wake.clear()

    async def _stay_away(self, answers: Iterable[asyncio.Future[Answer | None]], reason: str) -> None:
        self._send_away(answers)
        logger.debug("Redis is not asked for %s for %s s (%s)", self._what, PAUSE_SECONDS, reason)
        await asyncio.sleep(PAUSE_SECONDS)
        self._shut = False


def resolve(answer: asyncio.Future[Answer | None], value: Answer | None) -> None:
    if not answer.done():
        answer.set_result(value)
