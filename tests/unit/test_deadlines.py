"""One timer for the time limits of many operations."""

import asyncio

import pytest

from gql.deadlines import Deadlines, OutOfTime


async def never() -> None:
    await asyncio.Event().wait()


async def now() -> str:
    return "done"


async def test_what_ends_in_time_answers_and_leaves_nothing_behind() -> None:
    deadlines = Deadlines(60)
    assert await deadlines.within(now()) == "done"
    assert not deadlines._limits


async def test_what_takes_longer_is_cancelled_and_its_asyncio_task_goes_on() -> None:
    with pytest.raises(OutOfTime):
        await Deadlines(0.01).within(never())
    this = asyncio.current_task()
    assert this is not None
    assert not this.cancelling()
    await asyncio.sleep(0)


async def test_each_of_many_has_its_whole_time_and_no_more() -> None:
    deadlines, loop = Deadlines(0.05), asyncio.get_running_loop()
    took: list[float] = []

    async def wait_for_the_end() -> None:
        began = loop.time()
        with pytest.raises(OutOfTime):
            await deadlines.within(never())
        took.append(loop.time() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(wait_for_the_end())
            await asyncio.sleep(0.01)
    assert len(took) == 5
    assert min(took) >= 0.05
    assert not deadlines._limits


async def test_the_timer_runs_again_after_a_time_without_anything() -> None:
    deadlines = Deadlines(0.01)
    assert await deadlines.within(now()) == "done"
    while deadlines._timer is not None:
        await asyncio.sleep(0)
    with pytest.raises(OutOfTime):
        await deadlines.within(never())


async def test_who_is_cancelled_by_somebody_else_is_not_out_of_time() -> None:
    waiting = asyncio.create_task(Deadlines(60).within(never()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_who_is_cancelled_by_both_is_cancelled() -> None:
    deadlines = Deadlines(0.01)
    waiting = asyncio.create_task(deadlines.within(never()))
    await asyncio.sleep(0)
    [limit] = deadlines._limits
    limit.is_over = limit.aio_task.cancel()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_timeout_of_the_work_itself_is_raised_as_it_is() -> None:
    async def time_out() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await Deadlines(60).within(time_out())
