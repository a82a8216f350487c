"""Group commit, over work that begins and ends when the test says."""

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from taskql.errors import Unavailable
from taskql.grouping import Grouped

asking: ContextVar[str] = ContextVar("asking", default="nobody")


class Work:
    """Doubles numbers, once it is let; each group waits to be let go, in the order of their coming."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self._gates: list[asyncio.Future[BaseException | None]] = []
        self.askers: list[str] = []
        self.forgets = 0

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(items))
        self.askers.append(asking.get())
        gate: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        if error := await gate:
            raise error
        answers: list[int | Exception] = [
            2 * item if item >= 0 else Unavailable(f"no {item}") for item in items
        ]
        return answers[self.forgets :]

    def let_go(self, group: int, error: BaseException | None = None) -> None:
        self._gates[group].set_result(error)


async def settled() -> None:
    """All that can run without waiting for anything has run."""
    for _ in range(10):
        await asyncio.sleep(0)


def call(grouped: Grouped[int, int], item: int) -> asyncio.Task[int]:
    async def ask() -> int:
        return await grouped(item)

    return asyncio.create_task(ask())


async def called(work: Work, *items: int, **how: int) -> tuple[Grouped[int, int], list[asyncio.Task[int]]]:
    """The first item alone, the others while that is at work."""
    grouped: Grouped[int, int] = Grouped(work, **how)
    calls = [call(grouped, items[0])]
    await settled()
    calls += [call(grouped, item) for item in items[1:]]
    await settled()
    return grouped, calls


async def test_a_call_that_comes_alone_begins_at_once() -> None:
    work = Work()
    _, [one] = await called(work, 1)
    assert work.groups == [[1]]
    work.let_go(0)
    assert await one == 2


async def test_those_who_come_meanwhile_go_together_in_their_order() -> None:
    work = Work()
    _, calls = await called(work, 1, 5, 3, 4)
    assert work.groups == [[1]]
    work.let_go(0)
    await settled()
    assert work.groups == [[1], [5, 3, 4]]
    work.let_go(1)
    assert await asyncio.gather(*calls) == [2, 10, 6, 8]


async def test_those_who_come_in_one_turn_go_together() -> None:
    work = Work()
    grouped: Grouped[int, int] = Grouped(work, at_once=2)
    calls = [call(grouped, item) for item in (1, 2, 3)]
    await settled()
    assert work.groups == [[1, 2, 3]]
    work.let_go(0)
    assert await asyncio.gather(*calls) == [2, 4, 6]


async def test_what_is_too_much_for_one_group_begins_as_another_at_once() -> None:
    work = Work()
    grouped: Grouped[int, int] = Grouped(work, at_once=3, largest=2)
    calls = [call(grouped, item) for item in (1, 2, 3, 4, 5, 6, 7)]
    await settled()
    assert work.groups == [[1, 2], [3, 4], [5, 6]]
    work.let_go(1)
    await settled()
    assert work.groups[3:] == [[7]]
    for group in (0, 2, 3):
        work.let_go(group)
    assert await asyncio.gather(*calls) == [2, 4, 6, 8, 10, 12, 14]


async def test_a_group_is_no_larger_than_it_may_be() -> None:
    work = Work()
    _, calls = await called(work, *range(6), largest=2)
    for group in range(4):
        await settled()
        work.let_go(group)
    assert await asyncio.gather(*calls) == [0, 2, 4, 6, 8, 10]
    assert work.groups == [[0], [1, 2], [3, 4], [5]]


async def test_so_many_groups_are_worked_on_at_a_time() -> None:
    work = Work()
    grouped, [one] = await called(work, 1, at_once=2)
    others = [call(grouped, 2)]
    await settled()
    others += [call(grouped, item) for item in (3, 4)]
    await settled()
    assert work.groups == [[1], [2]]
    work.let_go(1)
    await settled()
    assert work.groups == [[1], [2], [3, 4]]
    work.let_go(2)
    work.let_go(0)
    assert [await one, *await asyncio.gather(*others)] == [2, 4, 6, 8]


async def test_an_error_reaches_each_call_of_its_group_and_no_other() -> None:
    work = Work()
    grouped, [first, *group] = await called(work, 1, 2, 3)
    work.let_go(0)
    await settled()
    later = call(grouped, 4)
    await settled()
    work.let_go(1, Unavailable("away"))
    await settled()
    work.let_go(2)
    assert await first == 2
    for each in group:
        with pytest.raises(Unavailable):
            await each
    assert await later == 8


async def test_an_error_among_the_outcomes_reaches_its_own_call_alone() -> None:
    work = Work()
    _, calls = await called(work, 1, 2, -3, 4)
    work.let_go(0)
    await settled()
    work.let_go(1)
    with pytest.raises(Unavailable, match="no -3"):
        await calls.pop(2)
    assert await asyncio.gather(*calls) == [2, 4, 8]


async def test_those_who_wait_behind_work_that_is_ended_from_outside_are_ended_too() -> None:
    work = Work()
    grouped, calls = await called(work, 1, 2, 3, largest=1)
    work.let_go(0, asyncio.CancelledError())
    await asyncio.wait(calls, timeout=5)
    assert [each.cancelled() for each in calls] == [True] * 3
    last = call(grouped, 4)
    await settled()
    work.let_go(1)
    assert await last == 8


async def test_a_caller_that_leaves_before_its_group_is_left_out() -> None:
    work = Work()
    _, calls = await called(work, 1, 2, 3)
    calls[1].cancel()
    work.let_go(0)
    await settled()
    assert work.groups == [[1], [3]]
    work.let_go(1)
    assert [await calls[0], await calls[2]] == [2, 6]


async def test_a_caller_that_leaves_while_its_group_is_at_work_harms_nobody() -> None:
    work = Work()
    grouped, calls = await called(work, 1, 2, 3)
    calls[0].cancel()
    await settled()
    assert len(work.groups) == 1
    work.let_go(0)
    await settled()
    work.let_go(1)
    assert await asyncio.gather(*calls[1:]) == [4, 6]
    assert calls[0].cancelled()
    last = call(grouped, 4)
    await settled()
    work.let_go(2)
    assert await last == 8


async def test_a_group_that_everybody_has_left_is_not_worked_on() -> None:
    work = Work()
    grouped, calls = await called(work, 1, 2, 3)
    for left in calls[1:]:
        left.cancel()
    work.let_go(0)
    await settled()
    assert work.groups == [[1]]
    last = call(grouped, 4)
    await settled()
    work.let_go(1)
    assert await last == 8


@pytest.mark.filterwarnings("error")
async def test_an_error_that_nobody_waits_for_any_more_is_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    _, [one] = await called(work, 1)
    work.let_go(0, Unavailable("away"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    del one
    assert caplog.records == []


async def test_work_that_answers_too_little_is_an_error_and_not_the_end() -> None:
    work = Work()
    work.forgets = 1
    grouped, calls = await called(work, 1, 2, 3)
    work.let_go(0)
    await settled()
    work.let_go(1)
    for each in calls:
        with pytest.raises(AssertionError, match="outcomes for"):
            await each
    work.forgets = 0
    last = call(grouped, 4)
    await settled()
    work.let_go(2)
    assert await last == 8


async def test_a_group_is_nobodys_own() -> None:
    """What is logged for many is not marked as one caller's, and none's trace is taken for another's."""
    work = Work()
    asking.set("alice")
    _, [one] = await called(work, 1)
    work.let_go(0)
    await one
    assert work.askers == ["nobody"]


def test_a_loop_that_closes_ends_those_who_wait() -> None:
    work = Work()
    left: list[asyncio.Task[int]] = []

    async def leave() -> None:
        _, calls = await called(work, 1, 2)
        left.extend(calls)

    asyncio.run(leave())
    assert [each.cancelled() for each in left] == [True, True]
