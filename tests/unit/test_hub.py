"""The hub against a scripted source of events and a scripted database."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest

from gql.watched import MAX_PENDING
from taskql.errors import NotFound, Unavailable
from taskql.lifecycle import TaskStatus
from taskql.ports import Hearing
from taskql.task import Task, TaskEvent
from tests.unit.stage import AT_ONCE, COMPLETED, OWNER, PENDING, event, staged, task_at, until


async def versions(watch: AsyncGenerator[Task, None]) -> list[int]:
    async with aclosing(watch):
        return [task.version async for task in watch]


async def test_watch_starts_with_the_snapshot_and_ends_with_the_terminal_version() -> None:
    task = task_at(1, PENDING)
    async with staged(task) as stage, aclosing(stage.watch(task)) as watch:
        assert await anext(watch) == task
        await stage.source.send(event(task, 2), event(task, 3, COMPLETED))
        assert [seen.version async for seen in watch] == [2, 3]


async def test_watch_of_a_terminal_task_is_its_snapshot_alone() -> None:
    task = task_at(7, COMPLETED)
    async with staged(task) as stage:
        assert await versions(stage.watch(task)) == [7]


async def test_watcher_listens_before_it_looks() -> None:
    task = task_at(1)
    async with staged(task) as stage, aclosing(stage.watch(task)) as watch:

        async def check() -> None:
            assert task.id in stage.source.channels

        stage.database.before_answer = check
        await anext(watch)


async def test_event_between_listening_and_the_snapshot_is_delivered_after_it() -> None:
    task = task_at(1)
    async with staged(task) as stage:

        async def commit_meanwhile() -> None:
            await stage.source.send(event(task, 2), event(task, 3, COMPLETED))

        stage.database.before_answer = commit_meanwhile
        assert await versions(stage.watch(task)) == [1, 2, 3]


async def test_stale_and_repeated_events_are_dropped() -> None:
    task = task_at(5)
    async with staged(task) as stage, aclosing(stage.watch(task)) as watch:
        await anext(watch)
        stale = [event(task, version) for version in (5, 4, 6, 5, 6)]
        await stage.source.send(*stale, event(task, 7, COMPLETED))
        assert [seen.version async for seen in watch] == [6, 7]


async def test_stale_terminal_event_does_not_end_a_task_that_was_tried_again() -> None:
    task = task_at(4, PENDING)
    async with staged(task) as stage:

        async def old_news() -> None:
            stage.database.before_answer = None
            await stage.source.send(event(task, 3, TaskStatus.FAILED))

        stage.database.before_answer = old_news
        async with aclosing(stage.watch(task)) as watch:
            assert (await anext(watch)).version == 4
            await stage.source.send(event(task, 5, COMPLETED))
            assert [seen.version async for seen in watch] == [5]


async def test_missed_events_are_read_with_one_question_for_all_that_is_watched() -> None:
    tasks = [task_at(1) for _ in range(3)]
    async with staged(*tasks) as stage:
        watches = [stage.watch(task) for task in tasks]
        for watch in watches:
            await anext(watch)
        stage.database.store(*(replace(task, version=9, status=COMPLETED) for task in tasks))
        await stage.source.send(Hearing.BACK)
        assert [await versions(watch) for watch in watches] == [[9], [9], [9]]
        assert stage.database.comparisons == [{task.id: 1 for task in tasks}]


async def test_tasks_of_all_owners_are_reconciled_with_one_question() -> None:
    mine, theirs = task_at(1), replace(task_at(2), owner="bob")
    async with staged(mine, theirs) as stage:
        watches = [stage.watch(mine), stage.hub.watch("bob", theirs.id)]
        for watch in watches:
            await anext(watch)
        await stage.source.send(Hearing.BACK)
        await stage.database.until_asked(1)
        assert stage.database.comparisons == [{mine.id: 1, theirs.id: 2}]
        for watch in watches:
            await watch.aclose()


async def test_newcomers_are_looked_at_with_one_question_for_each_owner() -> None:
    mine = [task_at(1) for _ in range(3)]
    theirs = replace(task_at(1), owner="bob")
    async with staged(*mine, theirs) as stage:
        watches = [*(stage.watch(task) for task in mine), stage.hub.watch("bob", theirs.id)]
        await asyncio.gather(*(anext(watch) for watch in watches))
        asked = {owner: set(ids) for owner, ids in stage.database.questions}
        assert asked == {OWNER: {task.id for task in mine}, "bob": {theirs.id}}
        assert len(stage.database.questions) == 2
        for watch in watches:
            await watch.aclose()


async def test_deaf_hub_reconciles_at_once_and_again_when_it_hears() -> None:
    task = task_at(1)
    async with staged(task, deaf_every=AT_ONCE) as stage, aclosing(stage.watch(task)) as watch:
        await anext(watch)
        assert stage.database.comparisons == []
        await stage.source.send(Hearing.LOST)
        stage.database.store(replace(task, version=2))
        assert (await anext(watch)).version == 2
        await stage.source.send(Hearing.BACK)
        await until(lambda: not stage.hub._listening.deaf)
        compared = len(stage.database.comparisons)
        await stage.source.send(event(task, 3, COMPLETED))
        assert [seen.version async for seen in watch] == [3]
        assert len(stage.database.comparisons) <= compared + 1


async def test_task_that_is_joined_while_we_are_deaf_is_listened_to_once_we_hear() -> None:
    task = task_at(1)
    async with staged(task) as stage:
        await stage.source.send(Hearing.LOST)
        async with aclosing(stage.watch(task)) as watch:
            await anext(watch)
            assert stage.source.calls == []
            await stage.source.send(Hearing.BACK)
            await until(lambda: task.id in stage.source.channels)
            await stage.source.send(event(task, 2, COMPLETED))
            assert [seen.version async for seen in watch] == [2]


class RecordedFeeds:
    """Feeds that write down what they are told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def offer(self, event: TaskEvent) -> None:
        self.told.append(event)

    def lost(self) -> None:
        self.told.append(Hearing.LOST)

    def resync(self) -> None:
        self.told.append(Hearing.BACK)


async def test_feeds_are_told_all_that_the_source_says() -> None:
    task = task_at(1)
    said = (event(task, 2), Hearing.LOST, Hearing.BACK, event(task, 3))
    feeds = RecordedFeeds()
    async with staged(feeds=feeds) as stage:
        await stage.source.send(*said)
        assert feeds.told == [*said]


async def test_lost_event_is_found_by_the_periodic_reconcile() -> None:
    task = task_at(1)
    async with staged(task, every=AT_ONCE) as stage, aclosing(stage.watch(task)) as watch:
        await anext(watch)
        stage.database.store(replace(task, version=2, status=COMPLETED))
        assert [seen.version async for seen in watch] == [2]


async def test_reconcile_survives_an_outage_of_the_database() -> None:
    task = task_at(1)
    async with staged(task, every=AT_ONCE) as stage, aclosing(stage.watch(task)) as watch:
        await anext(watch)
        stage.database.away = True
        await stage.database.until_asked(len(stage.database.comparisons) + 2)
        stage.database.store(replace(task, version=2, status=COMPLETED))
        stage.database.away = False
        assert [seen.version async for seen in watch] == [2]


async def test_watch_works_without_redis_and_listens_again_when_it_is_back() -> None:
    task = task_at(1)
    async with staged(task, deaf_every=AT_ONCE) as stage:
        stage.source.away = True
        async with aclosing(stage.watch(task)) as watch:
            assert (await anext(watch)).version == 1
            stage.database.store(replace(task, version=2))
            assert (await anext(watch)).version == 2
            stage.source.away = False
            await until(lambda: task.id in stage.source.channels)
            await stage.source.send(event(task, 3, COMPLETED))
            assert [seen.version async for seen in watch] == [3]


async def test_database_away_at_the_snapshot_fails_that_watch_alone() -> None:
    task = task_at(1)
    async with staged(task) as stage, aclosing(stage.watch(task)) as healthy:
        await anext(healthy)
        stage.database.away = True
        with pytest.raises(Unavailable):
            await versions(stage.watch(task))
        await stage.source.send(event(task, 2, COMPLETED))
        assert [seen.version async for seen in healthy] == [2]


async def test_missing_task_and_foreign_task_look_the_same() -> None:
    foreign = replace(task_at(1), owner="bob")
    missing = task_at(1)
    async with staged(foreign) as stage:
        for task in (foreign, missing):
            with pytest.raises(NotFound, match=str(task.id)):
                await versions(stage.watch(task))
        await until(lambda: not stage.source.channels)


async def test_foreign_task_stays_hidden_while_its_owner_watches_it() -> None:
    task = task_at(1)
    async with staged(task) as stage, aclosing(stage.watch(task)) as watch:
        await anext(watch)
        with pytest.raises(NotFound):
            await versions(stage.hub.watch("mallory", task.id))


async def test_deleted_task_ends_its_watch() -> None:
    task = task_at(1)
    async with staged(task) as stage, aclosing(stage.watch(task)) as watch:
        await anext(watch)
        stage.database.tasks.clear()
        await stage.source.send(Hearing.BACK)
        with pytest.raises(NotFound):
            await anext(watch)


@pytest.mark.parametrize(
    ("after_version", "seen"), [(None, [3, 4, 5]), (2, [3, 4, 5]), (3, [4, 5]), (4, [5]), (5, []), (9, [])]
)
async def test_watch_after_a_version_delivers_only_newer_ones(after_version: int, seen: list[int]) -> None:
    task = task_at(3)
    async with staged(task) as stage:

        async def commit_meanwhile() -> None:
            await stage.source.send(event(task, 4), event(task, 5, COMPLETED))

        stage.database.before_answer = commit_meanwhile
        assert await versions(stage.watch(task, after_version)) == seen


async def test_watch_after_the_terminal_version_completes_without_a_result() -> None:
    task = task_at(3, COMPLETED)
    async with staged(task) as stage:
        assert await versions(stage.watch(task, 3)) == []


async def test_reader_that_pauses_briefly_misses_no_version() -> None:
    task = task_at(0)
    async with staged(task) as stage, aclosing(stage.watch(task)) as watch:
        await anext(watch)
        last = MAX_PENDING - 1  # the snapshot itself waits in the buffer too
        await stage.source.send(*(event(task, version) for version in range(1, last)))
        await stage.source.send(event(task, last, COMPLETED))
        assert [seen.version async for seen in watch] == list(range(1, last + 1))


async def test_slow_reader_skips_versions_but_gets_the_last() -> None:
    task = task_at(0)
    async with staged(task) as stage, aclosing(stage.watch(task)) as watch:
        await anext(watch)
        await stage.source.send(*(event(task, version) for version in range(1, 100)))
        await stage.source.send(event(task, 100, COMPLETED))
        seen = [task.version async for task in watch]
        assert seen[-1] == 100
        assert seen == sorted(set(seen))
        assert len(seen) <= MAX_PENDING


async def test_all_watchers_of_a_task_share_one_channel() -> None:
    task = task_at(1)
    async with staged(task) as stage:
        watches = [stage.watch(task) for _ in range(5)]
        for watch in watches:
            await anext(watch)
        assert stage.source.calls == ["watch"]
        await stage.source.send(event(task, 2, COMPLETED))
        assert [await versions(watch) for watch in watches] == [[2]] * 5
        await until(lambda: not stage.source.channels)
        assert stage.source.calls == ["watch", "unwatch"]


async def test_cancelled_watcher_leaves_nothing_behind() -> None:
    task = task_at(1)
    async with staged(task) as stage:
        reader = asyncio.create_task(versions(stage.watch(task)))
        await until(lambda: task.id in stage.source.channels)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await until(lambda: not stage.hub._watched)
        assert not stage.source.channels


async def test_watch_that_begins_during_an_unwatch_hears_events() -> None:
    task = task_at(1)
    async with staged(task) as stage:
        stage.source.may_unwatch.clear()
        leaving = stage.watch(task)
        await anext(leaving)
        await leaving.aclose()
        await stage.source.unwatching.wait()

        joining = stage.watch(task)
        snapshot = asyncio.ensure_future(anext(joining))
        await until(lambda: bool(stage.hub._watched[task.id].watchers))
        stage.source.may_unwatch.set()
        assert (await snapshot).version == 1
        await stage.source.send(event(task, 2, COMPLETED))
        assert await versions(joining) == [2]


async def test_watch_that_begins_before_the_unwatch_keeps_the_channel() -> None:
    task = task_at(1)
    async with staged(task) as stage:
        leaving = stage.watch(task)
        await anext(leaving)
        await leaving.aclose()  # the unwatch is only planned
        async with aclosing(stage.watch(task)) as joining:
            await anext(joining)
            assert task.id in stage.source.channels
            await stage.source.send(event(task, 2, COMPLETED))
            assert [seen.version async for seen in joining] == [2]


async def test_closing_hub_ends_its_watchers_as_unavailable() -> None:
    task = task_at(1)
    async with staged(task) as stage, aclosing(stage.watch(task)) as watch:
        await anext(watch)
        stage.hub.close()
        with pytest.raises(Unavailable):
            await anext(watch)
        with pytest.raises(Unavailable):
            await versions(stage.watch(task))
