"""Group commit against a real PostgreSQL: all that TaskStore promises, and to each caller as if alone.

The promises themselves are those of test_task_store.py, whose tests run here over the other store.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.exc import DBAPIError

from taskql.adapters.postgres import GroupedTasks, PostgresTasks, open_engine
from taskql.adapters.postgres import tasks as tasks_module
from taskql.errors import Unavailable
from taskql.ports import Conflict, Created, Creation, Existing
from taskql.task import NewTask
from tests.contract.conftest import OWNER, Database, new_task
from tests.contract.test_task_store import (  # noqa: F401
    created,
    test_a_batch_of_old_and_new_keys_answers_each_in_its_place,
    test_a_foreign_task_under_the_same_key_stays_hidden,
    test_a_holder_that_vanishes_between_insert_and_look_up_frees_its_key,
    test_a_key_repeated_in_one_batch_makes_one_task,
    test_a_new_task_is_due_and_reserved_for_the_process_that_stored_it,
    test_a_new_task_is_stored_as_it_was_asked_for,
    test_a_repeated_request_finds_its_task_as_it_is_by_now,
    test_a_repeated_request_finds_the_task_it_made,
    test_a_single_task_that_the_database_refuses_raises,
    test_a_task_never_lacks_its_dispatch_row_nor_the_reverse,
    test_an_item_that_the_database_refuses_takes_no_other_along,
    test_another_request_under_the_same_key_is_a_conflict,
    test_batches_with_keys_in_crossing_order_do_not_deadlock,
    test_creating_nothing_creates_nothing,
    test_each_owner_has_keys_of_their_own,
    test_fetch_answers_what_exists_and_is_the_owners,
    test_fifty_creates_of_one_key_at_a_time_make_one_task,
    test_many_tasks_are_created_in_the_order_of_the_items,
    test_nobody_sees_or_counts_the_tasks_of_somebody_else,
    test_tasks_without_a_key_are_never_the_same,
)

MISSING = uuid4()


@pytest.fixture
async def db(db: Database) -> Database:
    """The same database behind the other store."""
    db.tasks = GroupedTasks(db.engine)
    return db


@pytest.fixture
async def stores(db: Database, database_url: str) -> AsyncIterator[list[GroupedTasks]]:
    """Stores of several processes."""
    async with AsyncExitStack() as engines:
        yield [
            GroupedTasks(await engines.enter_async_context(open_engine(database_url, 10))) for _ in range(3)
        ]


@pytest.fixture
def groups(db: Database, monkeypatch: pytest.MonkeyPatch) -> list[list[NewTask]]:
    """The groups of two and more that are stored together."""
    noted: list[list[NewTask]] = []
    perform = PostgresTasks._create

    async def note(self: PostgresTasks, tasks: Sequence[NewTask], creations: dict[int, Creation]) -> None:
        if len(tasks) > 1:
            noted.append(list(tasks))
        await perform(self, tasks, creations)

    monkeypatch.setattr(PostgresTasks, "_create", note)
    return noted


async def at_once(db: Database, *tasks: NewTask) -> list[Creation | BaseException]:
    """What each is answered of those who ask at the same moment."""
    answers = await asyncio.gather(*(db.tasks.create([task]) for task in tasks), return_exceptions=True)
    return [answer if isinstance(answer, BaseException) else answer[0] for answer in answers]


def kinds_of(answers: Sequence[object]) -> list[str]:
    return [type(answer).__name__ for answer in answers]


# ---------------------------------------------------------------- create


async def test_those_who_ask_at_once_are_one_transaction_and_each_has_its_own_task(
    db: Database, groups: list[list[NewTask]]
) -> None:
    answers = await at_once(db, *(new_task(str(number)) for number in range(40)))
    tasks = [created(answer) for answer in answers if isinstance(answer, Created)]
    assert [task.title for task in tasks] == [str(number) for number in range(40)]
    assert [len(group) for group in groups] == [40]
    assert len({task.created_at for task in tasks}) == 1
    assert [await db.task(task.id) for task in tasks[:3]] == tasks[:3]


async def test_one_key_in_one_group_makes_one_task(db: Database, groups: list[list[NewTask]]) -> None:
    same = [new_task("same", key="k", hash=b"1") for _ in range(20)]
    answers = await at_once(db, *same[:10], new_task("clash", key="k", hash=b"2"), *same[10:])
    [first] = [answer for answer in answers if isinstance(answer, Created)]
    assert answers.count(Existing(first.task)) == 19
    assert answers[10] == Conflict(first.task.id)
    assert len(groups) == 1
    assert await db.value("SELECT count(*) FROM tasks") == 1
    assert await db.value("SELECT count(*) FROM dispatch") == 1


async def test_one_key_in_groups_of_several_processes_makes_one_task(
    db: Database, stores: list[GroupedTasks]
) -> None:
    asked = [store.create([new_task(key=str(number % 5))]) for number in range(30) for store in stores]
    answers = [answer for [answer] in await asyncio.gather(*asked)]
    assert kinds_of(answers).count("Created") == 5
    assert kinds_of(answers).count("Existing") == 85
    assert await db.value("SELECT count(*) FROM tasks") == 5


@pytest.mark.parametrize("bad", ["\x00", "", "\ud800"], ids=["a NUL", "a check", "a lone surrogate"])
async def test_a_row_that_the_database_refuses_is_refused_to_its_own_caller(db: Database, bad: str) -> None:
    with pytest.raises(tasks_module.REFUSALS) as alone:
        await db.tasks.create([new_task(bad)])
    one, refused, other = await at_once(db, new_task("one"), new_task(bad), new_task("other"))
    assert kinds_of([one, refused, other]) == ["Created", type(alone.value).__name__, "Created"]
    assert await db.value("SELECT array_agg(title ORDER BY id) FROM tasks") == ["one", "other"]


async def test_what_a_broken_group_has_stored_is_not_stored_again(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.create("old", key="k")
    look_up, broken = tasks_module._holders, [DBAPIError("SELECT", None, Exception("broken"))]

    async def break_off(*arguments: Any) -> Any:
        if broken:
            raise broken.pop()
        return await look_up(*arguments)

    monkeypatch.setattr(tasks_module, "_holders", break_off)
    answers = await at_once(db, new_task("new"), new_task("old", key="k"), new_task("too"))
    assert kinds_of(answers) == ["Created", "Existing", "Created"]
    assert await db.value("SELECT array_agg(title ORDER BY id) FROM tasks") == ["old", "new", "too"]


async def test_whose_task_is_stored_is_told_so_though_the_group_is_broken_off(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the neighbour's key is looked up, PostgreSQL goes away: that must not hide what it has stored."""
    await db.create("old", key="k")

    async def away(*_: Any) -> Any:
        raise Unavailable("away")

    monkeypatch.setattr(tasks_module, "_holders", away)
    answers = await at_once(db, new_task("new"), new_task("old", key="k"), new_task("too"))
    assert kinds_of(answers) == ["Created", "Unavailable", "Created"]
    assert await db.value("SELECT array_agg(title ORDER BY id) FROM tasks") == ["old", "new", "too"]


async def test_a_commit_whose_answer_is_lost_is_not_repeated_and_a_key_tells_the_truth(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    statement = tasks_module.CREATE_ALONE
    create = statement.rows

    async def commit_and_lose(*arguments: Any, **values: Any) -> Any:
        monkeypatch.setattr(statement, "rows", create)
        await create(*arguments, **values)
        raise Unavailable("the connection is gone")

    monkeypatch.setattr(statement, "rows", commit_and_lose)
    wanted = [new_task("one"), new_task("two", key="k")]
    assert kinds_of(await at_once(db, *wanted)) == ["Unavailable"] * 2
    assert await db.value("SELECT array_agg(title ORDER BY id) FROM tasks") == ["one", "two"]
    assert kinds_of(await at_once(db, wanted[1])) == ["Existing"]


async def test_in_one_group_a_key_orders_tasks_as_they_were_asked_for(
    db: Database, groups: list[list[NewTask]]
) -> None:
    wanted = [
        new_task(str(number), ordering_key="ab"[number % 2], key=str(99 - number)) for number in range(20)
    ]
    await at_once(db, *wanted)
    assert len(groups) == 1
    for key, titles in (("a", range(0, 20, 2)), ("b", range(1, 20, 2))):
        rows = await db.sql("SELECT title FROM tasks WHERE ordering_key = $1 ORDER BY ordering_number", key)
        assert [row["title"] for row in rows] == [str(number) for number in titles]


async def test_each_task_of_a_group_has_its_own_trace(db: Database, groups: list[list[NewTask]]) -> None:
    traces = {str(number): f"00-{number:032x}-{number:016x}-00" for number in range(1, 10)}
    await at_once(
        db, new_task("none"), *(new_task(title, traceparent=each) for title, each in traces.items())
    )
    assert len(groups) == 1
    rows = await db.sql("SELECT title, trace_context::jsonb ->> 'traceparent' AS trace FROM tasks")
    assert {row["title"]: row["trace"] for row in rows} == {**traces, "none": None}


async def test_a_caller_who_leaves_takes_nobody_along(db: Database) -> None:
    asked = [asyncio.create_task(db.tasks.create([new_task(str(number))])) for number in range(5)]
    await asyncio.sleep(0)
    asked[2].cancel()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert kinds_of(answers) == ["list", "list", "CancelledError", "list", "list"]
    assert [created((await db.tasks.create([new_task("later")]))[0]).title] == ["later"]


async def test_an_outage_reaches_everybody_who_asked_and_is_over_for_the_next(
    db: Database, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setattr("taskql.adapters.postgres.engine.POOL_WAIT_SECONDS", 0.01)
    async with open_engine(database_url, 1) as engine:
        db.tasks = GroupedTasks(engine)
        async with engine.connect():
            assert kinds_of(await at_once(db, *(new_task(str(n)) for n in range(3)))) == ["Unavailable"] * 3
            with pytest.raises(Unavailable):
                await db.tasks.fetch(OWNER, [MISSING])
        assert kinds_of(await at_once(db, new_task())) == ["Created"]


# ---------------------------------------------------------------- fetch


async def test_look_ups_in_one_group_show_each_asker_what_is_theirs(db: Database) -> None:
    hers, his = await db.create("hers"), await db.create("his", owner="bob")
    asked = [
        (OWNER, hers.id), ("bob", hers.id), (None, hers.id), (OWNER, his.id), ("bob", his.id), (None, his.id),
        (OWNER, MISSING), (OWNER, hers.id),
    ]  # fmt: skip
    found = await asyncio.gather(*(db.tasks.fetch(owner, [id]) for owner, id in asked))
    mine, yours = {hers.id: hers}, {his.id: his}
    assert found == [mine, {}, mine, {}, yours, yours, {}, mine]


async def test_a_row_that_cannot_be_read_fails_its_own_look_up_alone(db: Database) -> None:
    good, bad = await db.create("good"), await db.create("bad")
    await db.claim(bad.id)
    await db.sql(
        'UPDATE tasks SET attempts = \'[{"of": "a newer version"}]\', version = version + 1 WHERE id = $1',
        bad.id,
    )
    found = await asyncio.gather(
        *(db.tasks.fetch(OWNER, [id]) for id in (good.id, bad.id, MISSING)), return_exceptions=True
    )
    assert found[0] == {good.id: good}
    assert isinstance(found[1], KeyError)
    assert found[2] == {}
