"""Asks Redis: many questions in one round trip, and none that waits for a slow server.

Invariant: one round trip at a time. What is asked meanwhile goes with the next one; if one takes longer than
a moment, whoever waits goes without an answer, and so does everybody else until Redis has answered.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable
from itertools import chain, islice
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from taskql.adapters.redis.connections import OUTAGE, account
from taskql.adapters.redis.nodes import Command, Nodes

logger = logging.getLogger(__name__)

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")
Waiting = Iterable[asyncio.Future[Answer | None]]

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
        self._wanted: dict[Question, list[asyncio.Future[Answer | None]]] = {}
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
        answer: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(question, []).append(answer)
        self._wake.set()
        return await answer

    # ------------------------------------------------------------ the loop

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            asked = {question: self._wanted.pop(question) for question in list(islice(self._wanted, BATCH))}
            if not self._wanted:
                self._wake.clear()
            answers = list(chain.from_iterable(asked.values()))
            try:
                replies = await self._replies(asked, answers)
                for waiting, reply in zip(asked.values(), replies, strict=True):
                    resolve(waiting, self._read(reply))
                self._shut = False
            except OUTAGE as error:
                await self._stay_away(answers, account(error))
            except Exception as error:
                logger.exception("Redis can't be asked for %s", self._what)
                await self._stay_away(answers, account(error))
            finally:
                resolve(answers, None)  # those of a loop that is cancelled, too

    async def _replies(self, asked: Iterable[Question], answers: Waiting[Answer]) -> list[Any]:
        """Whoever waits for longer than a moment is sent away, while we go on."""
        timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._send_away, answers)
        try:
            return await self._nodes.run([self._command(question) for question in asked])
        finally:
            timer.cancel()

    def _send_away(self, answers: Waiting[Answer]) -> None:
        """No more answers, neither to these nor to those who have come meanwhile, nor to those to come."""
        self._shut = True
        resolve(chain(answers, *self._wanted.values()), None)
        self._wanted.clear()
        self._wake.clear()

    async def _stay_away(self, answers: Waiting[Answer], reason: str) -> None:
        self._send_away(answers)
        logger.debug("Redis is not asked for %s for %s s (%s)", self._what, PAUSE_SECONDS, reason)
        await asyncio.sleep(PAUSE_SECONDS)
        self._shut = False


def resolve(answers: Waiting[Answer], value: Answer | None) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_result(value)
