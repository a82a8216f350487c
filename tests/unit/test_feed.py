"""Feeds against a scripted store and a scripted source: what followers are told, and what it costs."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID, uuid4

import pytest

from gql.feed import Pace
from gql.feeds import Feeds
from gql.follower import MAX_FETCH, Follower
from taskql.errors import Unavailable
from taskql.lifecycle import TaskStatus
from taskql.listing import TaskFilter
from taskql.ports import Hearing
from taskql.task import Task, TaskEvent
from tests.unit.stub_api import STORED

OWNER = "alice"
ALL = TaskFilter()
START = datetime(2026, 11, 22, tzinfo=UTC)
NEVER = timedelta(days=1)
AT_ONCE = timedelta(0)
COMPLETED = TaskStatus.COMPLETED


@dataclass
class ScriptedStore:
    """What is stored, on a clock that each change moves on; `before_answer` runs before answers."""

    tasks: dict[UUID, Task] = field(default_factory=dict)
    clock: datetime = START
    running: datetime | None = None
    """When the oldest transaction began that has yet to commit."""
    asked: Counter[str] = field(default_factory=Counter)
    fetched: list[list[UUID]] = field(default_factory=list)
    away: bool = False
    before_answer: Callable[[str], Awaitable[None]] | None = None
    calls: asyncio.Condition = field(default_factory=asyncio.Condition)

    def store(self, id: UUID | None = None, version: int = 1, owner: str = OWNER, **changes: object) -> Task:
        """Commit a change, whose moment is now unless it is given."""
        self.clock += timedelta(seconds=1)
        values = {"updated_at": self.clock, **changes}
        task = replace(STORED, id=id or uuid4(), owner=owner, version=version, **values)  # type: ignore[arg-type]
        self.tasks[task.id] = task
        return task

    async def fetch(self, owner: str, ids: Collection[UUID]) -> dict[UUID, Task]:
        self.fetched.append(list(ids))
        found = {id: self.tasks[id] for id in ids if id in self.tasks and self.tasks[id].owner == owner}
        await self._answer("fetch")
        return found

    async def changed_since(self, owner: str, moment: datetime, limit: int) -> list[Task]:
        mine = [task for task in self.tasks.values() if task.owner == owner and task.updated_at > moment]
        page = sorted(mine, key=lambda task: task.updated_at)
        found = page[:limit] + [
            task for task in page[limit:] if task.updated_at == page[limit - 1].updated_at
        ]
        await self._answer("changed_since")
        return found

    async def as_of(self) -> datetime:
        found = (self.running or self.clock) - timedelta(microseconds=1)
        await self._answer("as_of")
        return found

    async def _answer(self, call: str) -> None:
        async with self.calls:
            self.asked[call] += 1
            self.calls.notify_all()
        if self.before_answer is not None:
            await self.before_answer(call)
        if self.away:
            raise Unavailable("PostgreSQL is away")

    async def until_asked(self, call: str, times: int) -> None:
        async with self.calls:
            await self.calls.wait_for(lambda: self.asked[call] >= times)


@dataclass
class ScriptedSource:
    """An EventSource that may refuse to listen, or take its time to cease."""

    owners: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    away: bool = False
    may_unwatch: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def __post_init__(self) -> None:
        self.may_unwatch.set()

    async def watch_owner(self, owner: str) -> None:
        self.calls.append("watch")
        if self.away:
            raise Unavailable("Redis is away")
        await self._change(self.owners.add, owner)

    async def unwatch_owner(self, owner: str) -> None:
        self.calls.append("unwatch")
        await self.may_unwatch.wait()
        await self._change(self.owners.discard, owner)

    async def watch(self, task_id: UUID) -> None:
        raise AssertionError("feeds watch owners")

    async def unwatch(self, task_id: UUID) -> None:
        raise AssertionError("feeds watch owners")

    def events(self) -> AsyncIterator[TaskEvent | Hearing]:
        raise AssertionError("the hub reads the events")

    async def _change(self, act: Callable[[str], None], owner: str) -> None:
        async with self.changed:
            act(owner)
            self.changed.notify_all()

    async def until_heard(self, *owners: str) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.owners == set(owners))


@dataclass
class Stage:
    store: ScriptedStore
    source: ScriptedSource
    feeds: Feeds

    @asynccontextmanager
    async def following(self, filter: TaskFilter = ALL, owner: str = OWNER) -> AsyncIterator["Reader"]:
        """A follower from the moment on that it misses nothing."""
        before = self.store.asked["as_of"]
        is_first = owner not in self.source.owners
        reader = Reader(self.feeds.follow(owner, filter))
        if is_first:
            await self.store.until_asked("as_of", before + 2)  # once to begin, once for the first look
            await self.source.until_heard(*self.source.owners, owner)
        await settled()
        try:
            yield reader
        finally:
            await reader.stop()


class Reader:
    """Reads ahead, as a fast client would."""

    def __init__(self, states: AsyncGenerator[Task, None]) -> None:
        self._states = states
        self._next = asyncio.ensure_future(anext(states))

    async def next(self) -> Task:
        task = await self._next
        self._next = asyncio.ensure_future(anext(self._states))
        return task

    async def versions(self, count: int) -> list[int]:
        return [(await self.next()).version for _ in range(count)]

    @property
    def has_more(self) -> bool:
        return self._next.done()

    async def stop(self) -> None:
        self._next.cancel()
        await asyncio.wait([self._next])
        if not self._next.cancelled():
            self._next.exception()
        await self._states.aclose()


async def settled() -> None:
    """Whatever can run without anything new has run."""
    for _ in range(100):
        await asyncio.sleep(0)


@asynccontextmanager
async def staged(look: timedelta = NEVER, look_deaf: timedelta = NEVER) -> AsyncIterator[Stage]:
    store, source = ScriptedStore(), ScriptedSource()
    feeds = Feeds(store, source, Pace(hints=AT_ONCE, look=look, look_deaf=look_deaf))
    async with asyncio.timeout(60), feeds.running():
        yield Stage(store, source, feeds)


# ---------------------------------------------------------------- what is told


async def test_new_tasks_and_their_changes_are_told_as_they_come() -> None:
    async with staged() as stage, stage.following() as reader:
        task = stage.store.store()
        stage.feeds.offer(task)
        assert await reader.next() == task
        changed = stage.store.store(task.id, 2, status=COMPLETED)
        stage.feeds.offer(changed)
        assert await reader.next() == changed


async def test_what_was_before_is_not_told() -> None:
    async with staged() as stage:
        old = [stage.store.store() for _ in range(3)]
        async with stage.following() as reader:
            for task in old:
                stage.feeds.offer(task)
            stage.feeds.resync()
            await stage.store.until_asked("as_of", 3)
            await settled()
            assert not reader.has_more
            news = stage.store.store(old[0].id, 2)
            stage.feeds.offer(news)
            assert await reader.next() == news


async def test_the_new_state_is_matched() -> None:
    async with staged() as stage, stage.following(TaskFilter(status=[COMPLETED])) as reader:
        task = stage.store.store()
        stage.feeds.offer(task)
        await settled()
        assert not reader.has_more
        done = stage.store.store(task.id, 2, status=COMPLETED)
        stage.feeds.offer(done)
        assert await reader.next() == done
        stage.feeds.offer(stage.store.store(task.id, 3))
        await settled()
        assert not reader.has_more


async def test_what_is_told_is_what_is_stored_and_not_what_the_event_says() -> None:
    async with staged() as stage, stage.following() as reader:
        task = stage.store.store()
        newer = stage.store.store(task.id, 2)
        stage.feeds.offer(task)
        assert await reader.next() == newer


async def test_an_event_that_comes_twice_or_late_is_told_once() -> None:
    async with staged() as stage, stage.following() as reader:
        first = stage.store.store()
        second = stage.store.store(first.id, 2)
        for event in (second, second, first):
            stage.feeds.offer(event)
        assert await reader.next() == second
        for event in (first, second):
            stage.feeds.offer(event)
        stage.feeds.resync()
        await stage.store.until_asked("as_of", 3)
        stage.feeds.offer(second)  # known by its moment now
        await settled()
        assert not reader.has_more
        assert len(stage.store.fetched) == 1


async def test_deleted_tasks_are_not_told_of() -> None:
    async with staged() as stage, stage.following() as reader:
        gone = stage.store.store()
        del stage.store.tasks[gone.id]
        stage.feeds.offer(gone)
        stage.feeds.offer(stage.store.store(title="there"))
        assert (await reader.next()).title == "there"


async def test_nobody_is_told_of_the_tasks_of_somebody_else() -> None:
    async with staged() as stage, stage.following() as alice, stage.following(owner="bob") as bob:
        for owner in ("bob", "carol", OWNER):
            task = stage.store.store(owner=owner)
            stage.feeds.offer(task)
            stage.feeds.offer(replace(task, owner=OWNER))  # a forged event is but a hint
        assert (await alice.next()).owner == OWNER
        assert (await bob.next()).owner == "bob"
        await settled()
        assert (alice.has_more, bob.has_more) == (False, False)


async def test_many_events_at_a_time_are_read_with_few_questions() -> None:
    async with staged() as stage, stage.following() as reader:
        tasks = [stage.store.store() for _ in range(150)]
        for task in tasks:
            stage.feeds.offer(task)
        assert {(await reader.next()).id for _ in tasks} == {task.id for task in tasks}
        assert len(stage.store.fetched) == 1


# ---------------------------------------------------------------- what no event tells of


async def test_a_lost_event_is_made_up_for_by_the_next_look() -> None:
    async with staged(look=timedelta(milliseconds=1)) as stage, stage.following() as reader:
        task = stage.store.store()
        assert await reader.next() == task
        changed = stage.store.store(task.id, 2)
        assert await reader.next() == changed


async def test_while_redis_is_away_changes_are_looked_for() -> None:
    async with staged(look_deaf=timedelta(milliseconds=1)) as stage, stage.following() as reader:
        stage.feeds.lost()
        task = stage.store.store()
        assert await reader.next() == task
        changed = stage.store.store(task.id, 2)
        assert await reader.next() == changed


async def test_once_redis_is_back_what_was_missed_is_looked_for_at_once() -> None:
    async with staged() as stage, stage.following() as reader:
        stage.feeds.lost()
        await stage.store.until_asked("as_of", 3)
        await settled()
        task = stage.store.store()
        stage.feeds.resync()
        assert await reader.next() == task


async def test_a_feed_that_begins_while_redis_is_away_looks_and_listens_later() -> None:
    async with staged(look_deaf=timedelta(milliseconds=1)) as stage:
        stage.source.away = True
        reader = Reader(stage.feeds.follow(OWNER, ALL))
        await stage.store.until_asked("as_of", 3)
        task = stage.store.store()
        assert await reader.next() == task
        stage.source.away = False
        await stage.source.until_heard(OWNER)
        await reader.stop()


async def test_a_change_whose_transaction_ends_late_is_found_all_the_same() -> None:
    async with staged() as stage, stage.following() as reader:
        stage.store.running = began = stage.store.clock
        other = stage.store.store()
        stage.feeds.resync()
        assert await reader.next() == other  # and the feed has looked beyond the moment that follows
        late = stage.store.store(updated_at=began + timedelta(milliseconds=1))
        stage.store.running = None
        stage.feeds.resync()
        assert await reader.next() == late
        await settled()
        assert not reader.has_more


async def test_a_look_reads_page_by_page_whatever_changed_at_the_same_moment() -> None:
    async with staged() as stage, stage.following() as reader:
        moment = stage.store.clock + timedelta(hours=1)
        ids = {stage.store.store(updated_at=moment).id for _ in range(450)}
        ids |= {stage.store.store(updated_at=moment + timedelta(seconds=1)).id for _ in range(250)}
        ids |= {stage.store.store(updated_at=moment + timedelta(seconds=2)).id for _ in range(3)}
        stage.feeds.resync()
        assert {(await reader.next()).id for _ in ids} == ids


async def test_changes_during_an_outage_of_postgresql_are_told_after_it() -> None:
    async with staged(look_deaf=timedelta(milliseconds=1)) as stage, stage.following() as reader:
        stage.store.away = True
        task = stage.store.store()
        stage.feeds.offer(task)
        await stage.store.until_asked("fetch", 1)
        await settled()
        stage.store.away = False
        assert await reader.next() == task


async def test_postgresql_that_is_away_at_the_start_is_an_error() -> None:
    async with staged() as stage:
        stage.store.away = True
        with pytest.raises(Unavailable):
            await anext(stage.feeds.follow(OWNER, ALL))
        stage.store.away = False
        async with stage.following() as reader:
            stage.feeds.offer(task := stage.store.store())
            assert await reader.next() == task


# ---------------------------------------------------------------- many followers


async def test_all_who_follow_an_owner_share_one_feed() -> None:
    async with staged() as stage, stage.following() as one:
        async with stage.following(TaskFilter(title_contains="B")) as other:
            stage.feeds.offer(a := stage.store.store(title="a"))
            stage.feeds.offer(b := stage.store.store(title="b"))
            assert [await one.next(), await one.next(), await other.next()] == [a, b, b]
            assert stage.source.calls == ["watch"]
            assert stage.source.owners == {OWNER}
        await settled()
        assert stage.source.calls == ["watch"]


async def test_the_last_to_leave_ends_the_feed() -> None:
    async with staged() as stage:
        async with stage.following():
            assert stage.source.owners == {OWNER}
        await stage.source.until_heard()
        assert stage.source.calls == ["watch", "unwatch"]


async def test_whoever_comes_while_a_feed_ends_is_heard_for_after_it_has() -> None:
    async with staged() as stage:
        stage.source.may_unwatch.clear()
        async with stage.following():
            pass
        readers = []
        for _ in range(3):
            readers.append(Reader(stage.feeds.follow(OWNER, ALL)))
            await settled()
            if len(readers) < 3:
                await readers[-1].stop()
                await settled()
        assert stage.source.calls == ["watch", "unwatch"]
        stage.source.may_unwatch.set()
        await stage.source.until_heard()
        await stage.source.until_heard(OWNER)
        await settled()
        stage.feeds.offer(task := stage.store.store())
        assert await readers[-1].next() == task
        await readers[-1].stop()


async def test_whoever_leaves_before_the_feed_has_begun_leaves_nothing_behind() -> None:
    async with staged() as stage:
        may_answer = asyncio.Event()
        stage.store.before_answer = lambda _: wait(may_answer)
        reader = Reader(stage.feeds.follow(OWNER, ALL))
        await stage.store.until_asked("as_of", 1)
        await reader.stop()
        await settled()
        may_answer.set()
        await settled()
        assert stage.source.owners == set()


async def test_at_the_end_of_the_process_everybody_is_sent_elsewhere() -> None:
    async with staged() as stage, stage.following() as reader:
        stage.feeds.close()
        with pytest.raises(Unavailable, match="stopping"):
            await reader.next()
        with pytest.raises(Unavailable, match="stopping"):
            await anext(stage.feeds.follow(OWNER, ALL))


async def wait(event: asyncio.Event) -> None:
    await event.wait()


# ---------------------------------------------------------------- slow readers


async def no_fetch(ids: Collection[UUID]) -> dict[UUID, Task]:
    raise AssertionError("nothing is to be fetched")


async def test_a_slow_reader_gets_the_newest_state_of_each_task() -> None:
    follower = Follower(ALL, no_fetch)
    a, b = replace(STORED, id=uuid4()), replace(STORED, id=uuid4())
    for task in (a, b, replace(a, version=2), replace(a, version=3)):
        follower.offer(task)
    assert [await follower.next(), await follower.next()] == [b, replace(a, version=3)]


async def test_a_state_that_does_not_match_hides_none_that_does() -> None:
    follower = Follower(TaskFilter(status=[TaskStatus.PENDING]), no_fetch)
    follower.offer(STORED)
    follower.offer(replace(STORED, version=2, status=COMPLETED))
    assert await follower.next() == STORED


async def test_of_a_very_slow_reader_only_ids_are_kept_and_read_again() -> None:
    store = ScriptedStore()
    asked: list[int] = []

    async def fetch(ids: Collection[UUID]) -> dict[UUID, Task]:
        asked.append(len(ids))
        return await store.fetch(OWNER, ids)

    follower = Follower(ALL, fetch, max_held=10)
    tasks = [store.store() for _ in range(500)]
    for task in tasks:
        follower.offer(task)
    newest = [store.store(task.id, 2) for task in tasks]
    del store.tasks[tasks[-1].id]
    seen = [await follower.next() for _ in range(499)]
    assert seen[:10] == tasks[:10]  # held; their second version has yet to be offered
    assert seen[10:] == newest[10:499]
    assert max(asked) == MAX_FETCH
    for task in newest:
        follower.offer(task)
    assert [(await follower.next()).version for _ in range(10)] == [2] * 10
    follower.offer(last := replace(newest[20], version=3))
    assert await follower.next() == last


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_comes_while_states_are_read_versions_rise_to_the_last(seed: int) -> None:
    random = Random(seed)
    store = ScriptedStore()
    ids = [uuid4() for _ in range(8)]
    unoffered: list[Task] = []

    changes = 4

    def change() -> None:
        for _ in range(random.randrange(changes) if changes else 0):
            id = random.choice(ids)
            unoffered.append(store.store(id, store.tasks[id].version + 1 if id in store.tasks else 1))
        for _ in range(random.randrange(4)):
            if unoffered:
                follower.offer(unoffered.pop(0))

    async def fetch(wanted: Collection[UUID]) -> dict[UUID, Task]:
        change()
        found = await store.fetch(OWNER, wanted)
        change()
        return found

    follower = Follower(ALL, fetch, max_held=2)
    seen: dict[UUID, int] = {}
    for _ in range(300):
        change()
        while unoffered and len(unoffered) > 20:
            follower.offer(unoffered.pop(0))
        if random.random() < 0.5:
            note(seen, await ready(follower))
    while unoffered:
        follower.offer(unoffered.pop(0))
    changes = 0
    while task := await ready(follower):
        note(seen, task)
    assert seen == {task.id: task.version for task in store.tasks.values()}


async def ready(follower: Follower) -> Task | None:
    """The next state, where there is one."""
    reading = asyncio.ensure_future(follower.next())
    await settled()
    if reading.done():
        return reading.result()
    reading.cancel()
    return None


def note(seen: dict[UUID, int], task: Task | None) -> None:
    if task is None:
        return
    assert task.version > seen.get(task.id, 0)
    seen[task.id] = task.version
