"""Whose turn it is: the slots of a worker are shared out by weight among the queues that have messages.

Stride scheduling, in whole numbers. A queue's pass says how far it has come: each slot that it takes moves it
on by its stride, which is the longer the smaller its share. The next slot is for the queue whose next step
ends first, so that HIGH has had its twelve before LOW has its one. Slots that are promised to a queue count
as taken, for as long as they are.

Invariants: who waits in line is never passed for ever, whatever the others do; and who was away joins level
with the hindmost of those in line, so that idle time earns nothing, while what was taken stays taken.
"""

import math
from collections.abc import Collection, Mapping

from taskql.ports import SQS_MAX_BATCH
from taskql.queues import SHARES, Queue


class Turns:
    """The line of the queues that may have messages; at first all of them."""

    def __init__(self, shares: Mapping[Queue, int] = SHARES) -> None:
        lap = math.lcm(*shares.values())
        by_share = sorted(shares, key=lambda queue: -shares[queue])
        self._stride = {queue: lap // shares[queue] for queue in by_share}  # the order settles ties
        self._pass = dict.fromkeys(by_share, 0)
        self._promised = dict.fromkeys(by_share, 0)
        self._in_line = set(by_share)
        self._hindmost = 0

    @property
    def promised(self) -> int:
        """Slots that are promised to any queue."""
        return sum(self._promised.values())

    @property
    def in_line(self) -> Collection[Queue]:
        return self._in_line

    def first(self, among: Collection[Queue] = tuple(Queue)) -> Queue | None:
        """Whose turn it is, of these."""
        return lowest(self._next_steps(among))

    def portion(self, slots: int, among: Collection[Queue] = tuple(Queue)) -> int:
        """How many of so many free slots are for the first of these, and not for those behind it."""
        steps, portion = self._next_steps(among), 0
        first = lowest(steps)
        for _ in range(slots):
            turn = lowest(steps)
            if turn is None or portion == SQS_MAX_BATCH:
                break
            portion += turn is first
            steps[turn] += self._stride[turn]
        return portion

    def promise(self, queue: Queue, slots: int) -> None:
        """Keep so many slots for the queue; as many fewer, if negative."""
        self._promised[queue] += slots

    def took(self, queue: Queue, slots: int) -> None:
        """The queue has filled so many slots."""
        self._pass[queue] += slots * self._stride[queue]
        self._look_back()

    def join(self, queue: Queue) -> None:
        """The queue may have messages, after it had none for a while."""
        if queue not in self._in_line:
            self._pass[queue] = max(self._pass[queue], self._hindmost)
            self.resume(queue)

    def resume(self, queue: Queue) -> None:
        """The queue has messages, and had them all along: it is in line where it was."""
        self._in_line.add(queue)
        self._look_back()

    def leave(self, queue: Queue) -> None:
        """The queue has no messages, as far as we know."""
        self._in_line.discard(queue)
        self._look_back()

    def _next_steps(self, among: Collection[Queue]) -> dict[Queue, int]:
        """Where each in line would be with one slot more; of equals, the one of the greater share first."""
        return {
            queue: self._pass[queue] + (self._promised[queue] + 1) * stride
            for queue, stride in self._stride.items()
            if queue in self._in_line and queue in among
        }

    def _look_back(self) -> None:
        """Note how far the hindmost in line has come; with nobody in line that does not change."""
        passes = (self._pass[queue] for queue in self._in_line)
        self._hindmost = max(self._hindmost, min(passes, default=0))


def lowest(steps: Mapping[Queue, int]) -> Queue | None:
    return min(steps, key=steps.__getitem__, default=None)
