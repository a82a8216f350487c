"""TaskStore against a real PostgreSQL: what is created once, listed exactly, and seen by its owner alone."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from taskql.adapters.postgres import (
    PostgresDispatch,
    PostgresLeases,
    PostgresListings,
    PostgresTasks,
    migrate,
    open_engine,
)
from taskql.adapters.postgres import tasks as module
from taskql.devstack import DevStack
from taskql.errors import Unavailable
from taskql.lifecycle import TaskStatus
from taskql.listing import PageRequest, Position, TaskFilter
from taskql.ports import Conflict, Created, Creation, Dispatch, Existing, NotStored
from taskql.queues import Queue
from taskql.task import Failure, Lease, Progress, Task
from tests.contract.conftest import KIND, MINUTE, OWNER, PATIENCE, Database, new_task
from tests.contract.plans import indexes, nodes, noted, plan_of

ALL = TaskFilter()
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
LONGEST_WAIT_SECONDS = 60


def created(creation: Creation) -> Task:
    assert isinstance(creation, Created), creation
    return creation.task


async def titles(db: Database, filter: TaskFilter, owner: str = OWNER) -> set[str]:
    page = await db.listings.page(owner, filter, PageRequest(limit=100))
    assert await db.listings.count(owner, filter, 1000) == len(page.tasks)
    return {task.title for task in page.tasks}


@pytest.fixture
async def stores(db: Database, database_url: str) -> AsyncIterator[list[PostgresTasks]]:
    """Stores of several processes."""
    async with AsyncExitStack() as engines:
        yield [
            PostgresTasks(await engines.enter_async_context(open_engine(database_url, 10))) for _ in range(3)
        ]


# ---------------------------------------------------------------- create


async def test_a_new_task_is_stored_as_it_was_asked_for(db: Database) -> None:
    wanted = new_task("Grüße 🚀", description="über\nall", input={"ä": [1, 2.5, None, True, {"b": "🚀"}]})
    [creation] = await db.tasks.create([wanted])
    task = created(creation)
    for name in ("owner", "kind", "title", "description", "input", "max_attempts"):
        assert getattr(task, name) == getattr(wanted, name)
    assert (task.status, task.version, task.attempt, task.attempts) == (TaskStatus.PENDING, 1, 0, ())
    assert (task.progress, task.result, task.failure) == (None, None, None)
    assert (task.started_at, task.finished_at) == (None, None)
    assert task.created_at == task.updated_at
    assert await db.task(task.id) == task


async def test_a_new_task_is_due_and_reserved_for_the_process_that_stored_it(db: Database) -> None:
    [creation] = await db.tasks.create([new_task()])
    assert isinstance(creation, Created)
    assert creation.dispatch == Dispatch(creation.task.id, Queue.NORMAL, 0)
    row = await db.row(creation.task.id)
    assert row is not None
    assert row["available_at"] == creation.task.created_at
    assert row["reserved_until"] > row["available_at"]
    assert (row["queue"], row["attempt"], row["sent_at"], row["lease_expires_at"]) == (
        Queue.NORMAL,
        0,
        None,
        None,
    )


async def test_many_tasks_are_created_in_the_order_of_the_items(db: Database) -> None:
    # Keys that sort the other way: rows are inserted in the order of keys, ids rise in that of items.
    wanted = [new_task(str(number), key=str(900 - number)) for number in range(300)]
    tasks = [created(creation) for creation in await db.tasks.create(wanted)]
    assert [task.title for task in tasks] == [task.title for task in wanted]
    assert [task.id for task in tasks] == sorted(task.id for task in tasks)
    assert len({task.created_at for task in tasks}) == 1


async def test_creating_nothing_creates_nothing(db: Database) -> None:
    assert await db.tasks.create([]) == []


async def test_an_item_that_the_database_refuses_takes_no_other_along(db: Database) -> None:
    good, bad, other = await db.tasks.create([new_task("good"), new_task(""), new_task("other")])
    assert created(good).title == "good"
    assert isinstance(bad, NotStored)
    assert created(other).title == "other"
    assert await titles(db, ALL) == {"good", "other"}


async def test_a_single_task_that_the_database_refuses_raises(db: Database) -> None:
    with pytest.raises(module.REFUSALS):
        await db.tasks.create([new_task("")])


async def test_a_task_never_lacks_its_dispatch_row_nor_the_reverse(db: Database) -> None:
    await db.tasks.create([new_task(str(number), key=str(number % 7)) for number in range(20)])
    await db.tasks.create([new_task(str(number)) for number in range(20)])
    assert await db.value("SELECT count(*) FROM tasks") == 27
    assert await db.value("SELECT count(*) FROM tasks t FULL JOIN dispatch d ON d.task_id = t.id "
                          "WHERE t.id IS NULL OR d.task_id IS NULL") == 0  # fmt: skip


# ---------------------------------------------------------------- idempotency


async def test_a_repeated_request_finds_the_task_it_made(db: Database) -> None:
    [first] = await db.tasks.create([new_task(key="k", hash=b"1")])
    [second] = await db.tasks.create([new_task(key="k", hash=b"1")])
    assert second == Existing(created(first))
    assert await db.value("SELECT count(*) FROM tasks") == 1


async def test_a_repeated_request_finds_its_task_as_it_is_by_now(db: Database) -> None:
    task = await db.create(key="k")
    await db.claim(task.id)
    [again] = await db.tasks.create([new_task(key="k")])
    assert again == Existing(await db.task(task.id))
    assert isinstance(again, Existing)
    assert again.task.status is TaskStatus.PROCESSING


async def test_another_request_under_the_same_key_is_a_conflict(db: Database) -> None:
    task = await db.create(key="k", hash=b"1")
    assert await db.tasks.create([new_task("other", key="k", hash=b"2")]) == [Conflict(task.id)]
    assert await db.value("SELECT count(*) FROM tasks") == 1


async def test_each_owner_has_keys_of_their_own(db: Database) -> None:
    hers = await db.create(key="k", hash=b"1")
    [his] = await db.tasks.create([new_task(owner="bob", key="k", hash=b"2")])
    assert created(his).id != hers.id


async def test_tasks_without_a_key_are_never_the_same(db: Database) -> None:
    creations = await db.tasks.create([new_task(), new_task(), new_task()])
    assert len({created(creation).id for creation in creations}) == 3


async def test_a_key_repeated_in_one_batch_makes_one_task(db: Database) -> None:
    wanted = [
        new_task("first", key="k", hash=b"1"),
        new_task("between"),
        new_task("again", key="k", hash=b"1"),
        new_task("other", key="k", hash=b"2"),
    ]
    first, between, again, other = await db.tasks.create(wanted)
    task = created(first)
    assert task.title == "first"
    assert created(between).title == "between"
    assert again == Existing(task)
    assert other == Conflict(task.id)


async def test_a_batch_of_old_and_new_keys_answers_each_in_its_place(db: Database) -> None:
    old = await db.create("old", key="b", hash=b"1")
    outcomes = await db.tasks.create([
        new_task("new", key="a"), new_task("old", key="b", hash=b"1"), new_task("plain"),
        new_task("clash", key="b", hash=b"2"), new_task("new too", key="c"),
    ])  # fmt: skip
    assert [type(outcome) for outcome in outcomes] == [Created, Existing, Created, Conflict, Created]
    assert outcomes[1] == Existing(old)
    assert [created(outcomes[place]).title for place in (0, 2, 4)] == ["new", "plain", "new too"]


async def test_a_holder_that_vanishes_between_insert_and_look_up_frees_its_key(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await db.create("old", key="k")
    real = module._holders

    async def look_up_late(*arguments: Any) -> Any:
        await db.sql("DELETE FROM tasks WHERE id = $1", old.id)
        return await real(*arguments)

    monkeypatch.setattr(module, "_holders", look_up_late)
    [creation] = await db.tasks.create([new_task("new", key="k")])
    assert created(creation).title == "new"


async def test_fifty_creates_of_one_key_at_a_time_make_one_task(
    db: Database, stores: list[PostgresTasks]
) -> None:
    creates = (store.create([new_task(key="k")]) for store, _ in zip(itertools.cycle(stores), range(50)))
    outcomes = [outcome for [outcome] in await asyncio.gather(*creates)]
    [first] = [outcome for outcome in outcomes if isinstance(outcome, Created)]
    assert outcomes.count(Existing(first.task)) == 49
    assert await db.value("SELECT count(*) FROM tasks") == 1
    assert await db.value("SELECT count(*) FROM dispatch") == 1


async def test_batches_with_keys_in_crossing_order_do_not_deadlock(
    db: Database, stores: list[PostgresTasks]
) -> None:
    for round in range(50):
        keys = [f"{round}-{number}" for number in range(10)]
        orders = (keys, keys[::-1], keys[5:] + keys[:5])
        batches = await asyncio.gather(
            *(
                store.create([new_task(key, key=key) for key in order])
                for store, order in zip(stores, orders, strict=True)
            )
        )
        winners: set[str] = set()
        for order, batch in zip(orders, batches, strict=True):
            for key, outcome in zip(order, batch, strict=True):
                assert isinstance(outcome, Created | Existing)
                assert outcome.task.title == key
                if isinstance(outcome, Created):
                    assert key not in winners
                    winners.add(key)
        assert winners == set(keys)


async def test_batches_that_meet_in_the_middle_do_not_deadlock(
    db: Database, stores: list[PostgresTasks]
) -> None:
    """Both stop at a key that somebody is about to take: none may hold what the other one needs next."""
    keys = list("abcdefg")
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        transaction = db.direct.transaction()
        await transaction.start()
        await db.sql(
            "INSERT INTO tasks (owner, kind, title, input, max_attempts, idempotency_key, request_hash) "
            "VALUES ($1, $2, 'x', '{}', 3, 'd', '')",
            OWNER,
            KIND,
        )
        batches = [
            asyncio.create_task(store.create([new_task(key, key=key) for key in order]))
            for store, order in zip(stores, (keys, keys[::-1]), strict=False)
        ]
        async with db.engine.connect() as watcher:
            while await waiting_for_locks(watcher) < len(batches):
                await asyncio.sleep(0.01)
        await transaction.rollback()
        outcomes = [outcome for batch in await asyncio.gather(*batches) for outcome in batch]
    assert sum(isinstance(outcome, Created) for outcome in outcomes) == len(keys)
    assert sum(isinstance(outcome, Existing) for outcome in outcomes) == len(keys)


# ---------------------------------------------------------------- paging


async def listing(db: Database, minutes: Sequence[int]) -> list[Task]:
    """Stored tasks created that many minutes after noon, in the order of (created_at, id)."""
    for minute in minutes:
        await db.sql(
            "INSERT INTO tasks (owner, kind, title, input, max_attempts, created_at, updated_at) "
            "VALUES ($1, $2, 'x', '{}', 3, $3, $3)",
            OWNER,
            KIND,
            NOON + minute * MINUTE,
        )
    ids = [row["id"] for row in await db.sql("SELECT id FROM tasks")]
    return sorted((await db.tasks.fetch(OWNER, ids)).values(), key=place)


def place(task: Task) -> tuple[datetime, UUID]:
    return task.created_at, task.id


def position(task: Task) -> Position:
    return Position(task.created_at, task.id)


def expected(tasks: list[Task], request: PageRequest) -> list[Task]:
    """The page that `request` asks for, from all tasks in listing order."""

    def beyond(task: Task, end: Position, direction: bool) -> bool:
        return (place(task) < (end.created_at, end.id)) is direction and place(task) != (
            end.created_at,
            end.id,
        )

    within = [
        task
        for task in tasks
        if (request.after is None or beyond(task, request.after, request.descending))
        and (request.before is None or beyond(task, request.before, not request.descending))
    ]
    return within[-request.limit :] if request.backward else within[: request.limit]


@pytest.mark.parametrize("descending", [True, False], ids=["newest-first", "oldest-first"])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize(
    "minutes", [range(7), (0, 1, 1, 1, 2, 2, 3), (0,) * 7], ids=["apart", "some-equal", "all-equal"]
)
async def test_every_page_is_exact(
    db: Database, minutes: Sequence[int], descending: bool, backward: bool
) -> None:
    tasks = await listing(db, minutes)
    if descending:
        tasks.reverse()
    ends = [None, *map(position, tasks)]
    requests = [
        PageRequest(limit=limit, descending=descending, backward=backward, after=after, before=before)
        for limit, after, before in itertools.product((1, 3, 7), ends, ends)
    ]

    async def check(request: PageRequest) -> None:
        page = await db.listings.page(OWNER, ALL, request)
        assert list(page.tasks) == expected(tasks, request), request
        if page.tasks:
            assert page.has_previous == (page.tasks[0] != tasks[0]), request
            assert page.has_next == (page.tasks[-1] != tasks[-1]), request

    # A few at a time: nothing that was asked changes.
    for start in range(0, len(requests), 16):
        await asyncio.gather(*map(check, requests[start : start + 16]))


@pytest.mark.parametrize("descending", [True, False], ids=["newest-first", "oldest-first"])
async def test_an_empty_page_beyond_an_end_tells_where_the_tasks_are(db: Database, descending: bool) -> None:
    tasks = await listing(db, range(3))
    first, last = (tasks[-1], tasks[0]) if descending else (tasks[0], tasks[-1])
    after_all = await db.listings.page(
        OWNER, ALL, PageRequest(limit=2, descending=descending, after=position(last))
    )
    assert (after_all.tasks, after_all.has_previous, after_all.has_next) == ((), True, False)
    before_all = await db.listings.page(
        OWNER, ALL, PageRequest(limit=2, descending=descending, backward=True, before=position(first))
    )
    assert (before_all.tasks, before_all.has_previous, before_all.has_next) == ((), False, True)


async def test_a_cursor_goes_on_where_its_task_was_even_when_that_is_gone(db: Database) -> None:
    tasks = await listing(db, range(5))
    gone = tasks[2]
    await db.sql("DELETE FROM tasks WHERE id = $1", gone.id)
    page = await db.listings.page(OWNER, ALL, PageRequest(limit=9, descending=False, after=position(gone)))
    assert (list(page.tasks), page.has_previous, page.has_next) == (tasks[3:], True, False)


async def test_paging_through_meets_each_task_once_while_others_are_created(db: Database) -> None:
    tasks = await listing(db, [0, 0, 1, 1, 1, 2, 3])
    met: list[Task] = []
    after: Position | None = None
    while True:
        page = await db.listings.page(OWNER, ALL, PageRequest(limit=2, after=after))
        met += page.tasks
        if not page.has_next:
            break
        after = position(met[-1])
        await db.create("newcomer")
    assert met == tasks[::-1]


async def test_has_next_counts_only_what_the_filter_lets_through(db: Database) -> None:
    for title in ("yes 1", "no 1", "yes 2", "no 2"):
        await db.create(title)
    page = await db.listings.page(
        OWNER, TaskFilter(title_contains="yes"), PageRequest(limit=2, descending=False)
    )
    assert [task.title for task in page.tasks] == ["yes 1", "yes 2"]
    assert not page.has_next


# ---------------------------------------------------------------- filters


@pytest.mark.parametrize(
    "filter", [TaskFilter(status=[]), TaskFilter(kind=[]), TaskFilter(status=(), kind=())]
)
async def test_an_empty_collection_matches_nothing(db: Database, filter: TaskFilter) -> None:
    await db.create()
    assert await titles(db, filter) == set()


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("%", {"100% sure"}),
        ("_", {"snake_case"}),
        ("\\", {"back\\slash"}),
        ("/", {"for/ward"}),
        ("'", {"it's"}),
        ("100%", {"100% sure"}),
        ("e_c", {"snake_case"}),
        ("SNAKE", {"snake_case"}),
        ("grüß", {"Grüße", "GRÜßE"}),
        ("GRÜ", {"Grüße", "GRÜßE"}),
        ("%%", set()),
        ("nothing", set()),
        ("a", {"snake_case", "back\\slash", "for/ward"}),
    ],
)  # fmt: skip
async def test_title_contains_takes_every_character_for_itself(
    db: Database, part: str, found: set[str]
) -> None:
    names = ("100% sure", "snake_case", "back\\slash", "for/ward", "it's", "Grüße", "GRÜßE")
    await db.tasks.create([new_task(name) for name in names])
    assert await titles(db, TaskFilter(title_contains=part)) == found


async def test_an_empty_title_filter_is_no_restriction(db: Database) -> None:
    await db.create("x")
    assert await titles(db, TaskFilter(title_contains="")) == {"x"}


@pytest.fixture
async def one_of_each(db: Database) -> Database:
    """A task in each status that can be reached today, with its status for a title."""
    await db.create("PENDING")
    await db.claimed(title="PROCESSING")
    await db.leases.complete((await db.claimed(title="COMPLETED")).lease, {"outputData": "cba"})
    await db.leases.fail((await db.claimed(title="FAILED")).lease, Failure("PERMANENT", "no", False))
    return db


@pytest.mark.parametrize(
    "wanted",
    [part for size in (1, 2, 3, 5) for part in itertools.combinations(TaskStatus, size)],
    ids=lambda wanted: "-".join(wanted),
)
async def test_status_filters(one_of_each: Database, wanted: Collection[TaskStatus]) -> None:
    found = await titles(one_of_each, TaskFilter(status=wanted))
    assert found == {status.value for status in wanted} - {"CANCELLED"}


async def test_filters_restrict_together(db: Database) -> None:
    await db.create("a", kind="reverse")
    await db.create("b", kind="compute")
    await db.create("ab", kind="compute")
    assert await titles(db, TaskFilter(kind=["compute"])) == {"b", "ab"}
    assert await titles(db, TaskFilter(kind=["compute", "reverse"], title_contains="a")) == {"a", "ab"}
    assert await titles(db, TaskFilter(kind=["compute"], title_contains="a")) == {"ab"}
    assert await titles(db, TaskFilter(kind=["compute"], status=[TaskStatus.FAILED])) == set()


async def test_times_in_filters_are_exclusive(db: Database) -> None:
    tasks = await listing(db, range(5))

    async def found(**times: Any) -> list[Task]:
        page = await db.listings.page(OWNER, TaskFilter(**times), PageRequest(limit=9, descending=False))
        return list(page.tasks)

    assert await found(created_after=tasks[1].created_at) == tasks[2:]
    assert await found(created_before=tasks[3].created_at) == tasks[:3]
    assert await found(created_after=tasks[1].created_at, created_before=tasks[3].created_at) == [tasks[2]]
    assert await found(updated_after=tasks[3].updated_at) == [tasks[4]]
    assert await found(updated_after=tasks[4].updated_at) == []


async def test_updated_after_finds_what_changed(db: Database) -> None:
    tasks = [await db.create(str(number)) for number in range(3)]
    await db.claim(tasks[0].id)
    assert await titles(db, TaskFilter(updated_after=tasks[2].updated_at)) == {"0"}


async def test_counting_stops_at_its_limit(db: Database) -> None:
    await db.tasks.create([new_task() for _ in range(5)])
    assert [await db.listings.count(OWNER, ALL, limit) for limit in (1, 4, 5, 6)] == [1, 4, 5, 5]


# ---------------------------------------------------------------- owners


async def test_nobody_sees_or_counts_the_tasks_of_somebody_else(db: Database) -> None:
    task = await db.create(key="k")
    assert await db.tasks.fetch("bob", [task.id]) == {}
    assert await db.listings.count("bob", ALL, 10) == 0
    assert await titles(db, ALL, owner="bob") == set()
    for request in (
        PageRequest(limit=5, after=Position(task.created_at + MINUTE, task.id)),
        PageRequest(limit=5, before=Position(task.created_at - MINUTE, task.id)),
        PageRequest(limit=5, backward=True, before=Position(task.created_at - MINUTE, task.id)),
        PageRequest(limit=5, backward=True, after=Position(task.created_at + MINUTE, task.id)),
    ):
        page = await db.listings.page("bob", ALL, request)
        assert (page.tasks, page.has_previous, page.has_next) == ((), False, False)


async def test_a_foreign_task_under_the_same_key_stays_hidden(db: Database) -> None:
    hers = await db.create("hers", key="k", hash=b"1")
    [his] = await db.tasks.create([new_task("his", owner="bob", key="k", hash=b"1")])
    assert created(his).title == "his"
    assert (await db.task(hers.id)).title == "hers"


async def test_fetch_answers_what_exists_and_is_the_owners(db: Database) -> None:
    mine = await db.create()
    theirs = await db.create(owner="bob")
    assert await db.tasks.fetch(OWNER, [mine.id, theirs.id, uuid4()]) == {mine.id: mine}
    assert await db.tasks.fetch(OWNER, []) == {}


# ---------------------------------------------------------------- plans


HERE = Position(NOON, UUID(int=7))
PAGES = [
    PageRequest(limit=20, descending=descending, backward=backward, after=after, before=before)
    for descending, backward, after, before in itertools.product(
        (True, False), (True, False), (None, HERE), (None, HERE)
    )
]


@pytest.mark.parametrize(
    ("filter", "index"),
    [(ALL, "tasks_listing"), (TaskFilter(status=[TaskStatus.FAILED]), "tasks_listing_finished")],
    ids=["all", "failed"],
)
async def test_pages_come_from_the_listing_index_without_sorting(
    db: Database, engine: AsyncEngine, filter: TaskFilter, index: str
) -> None:
    # Rows of many owners, so that no plan but the index pays.
    await db.sql(
        "INSERT INTO tasks (owner, kind, title, input, max_attempts, status, outcome, finished_at) "
        "SELECT 'owner ' || n % 50, 'reverse', 'x', '{}', 3, 'FAILED', 'FAILED', now() "
        "FROM generate_series(1, 5000) n"
    )
    await db.sql("ANALYZE tasks")
    with noted(engine) as made:
        for request in PAGES:
            await db.listings.page("owner 7", filter, request)
    assert len(made) >= len(PAGES)
    async with db.direct.transaction():
        await db.sql("SET LOCAL enable_seqscan = off")
        plans = [await plan_of(db, statement) for statement in made]
    for plan in plans:
        assert indexes(plan) == {index}
        assert not [node for node in nodes(plan) if "Sort" in node["Node Type"] or "Filter" in node]


# ---------------------------------------------------------------- outages


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """A stack whose PostgreSQL these tests may kill."""
    with DevStack(data=tmp_path_factory.mktemp("fragile"), say=lambda _: None) as stack:
        yield stack


async def test_an_outage_is_unavailable_and_heals(fragile: DevStack) -> None:
    async with open_engine(fragile.env["DATABASE_URL"], 10) as engine:
        await migrate(engine)
        tasks, leases, dispatch = (
            PostgresTasks(engine),
            PostgresLeases(engine, PATIENCE),
            PostgresDispatch(engine),
        )
        listings = PostgresListings(engine)
        [creation] = await tasks.create([new_task()])
        task = created(creation)
        await asyncio.gather(*(tasks.ping() for _ in range(5)))  # a pool of connections that will break
        lease, failure = Lease(task.id, 1), Failure("PERMANENT", "no", False)
        calls: dict[str, Callable[[], Any]] = {
            "create": lambda: tasks.create([new_task()]),
            "fetch": lambda: tasks.fetch(OWNER, [task.id]),
            "page": lambda: listings.page(OWNER, ALL, PageRequest(limit=1)),
            "count": lambda: listings.count(OWNER, ALL, 1),
            "ping": tasks.ping,
            "claim": lambda: leases.claim(task.id, [KIND], MINUTE),
            "extend": lambda: leases.extend(lease, MINUTE),
            "progress": lambda: leases.progress(lease, Progress(0.5)),
            "complete": lambda: leases.complete(lease, None),
            "retry": lambda: leases.retry(lease, failure, MINUTE),
            "fail": lambda: leases.fail(lease, failure),
            "release": lambda: leases.release(lease),
            "bury": lambda: leases.bury(Queue.NORMAL, "body", "reason"),
            "reserve_due": lambda: dispatch.reserve_due(1),
            "mark_sent": lambda: dispatch.mark_sent([Dispatch(task.id, Queue.NORMAL, 0)]),
            "rescue_expired": lambda: dispatch.rescue_expired(1),
            "raise_watermark": lambda: dispatch.raise_watermark(Queue.NORMAL, NOON),
            "resend_lost": lambda: dispatch.resend_lost(MINUTE, 1),
            "reserve_dead_letters": lambda: dispatch.reserve_dead_letters(1),
            "mark_dead_letters_sent": lambda: dispatch.mark_dead_letters_sent([task.id]),
        }
        fragile.postgres.kill()
        raised = await asyncio.gather(*(call() for call in calls.values()), return_exceptions=True)
        assert {name: type(error) for name, error in zip(calls, raised, strict=True)} == dict.fromkeys(
            calls, Unavailable
        )

        fragile.postgres.start()
        await until_reachable(tasks)
        assert await tasks.fetch(OWNER, [task.id]) == {task.id: task}
        assert (await listings.page(OWNER, ALL, PageRequest(limit=9))).tasks == (task,)


async def until_reachable(tasks: PostgresTasks) -> None:
    async with asyncio.timeout(LONGEST_WAIT_SECONDS):
        while True:
            try:
                return await tasks.ping()
            except Unavailable:
                await asyncio.sleep(0.01)


async def test_a_statement_that_a_restart_cuts_off_is_unavailable(fragile: DevStack) -> None:
    async with open_engine(fragile.env["DATABASE_URL"], 10) as engine:
        await migrate(engine)
        tasks = PostgresTasks(engine)
        task = created((await tasks.create([new_task(key=str(uuid4()))]))[0])
        async with engine.execution_options(isolation_level="READ COMMITTED").connect() as blocker:
            await blocker.exec_driver_sql("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE")
            waiting = asyncio.create_task(tasks.fetch(OWNER, [task.id]))
            async with asyncio.timeout(LONGEST_WAIT_SECONDS), engine.connect() as watcher:
                while not await waiting_for_locks(watcher):
                    await asyncio.sleep(0.01)
            fragile.postgres.kill()
            with pytest.raises(Unavailable):
                await waiting
            await blocker.invalidate()
        fragile.postgres.start()
        await until_reachable(tasks)
        assert await tasks.fetch(OWNER, [task.id]) == {task.id: task}


async def waiting_for_locks(watcher: AsyncConnection) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return int((await watcher.exec_driver_sql(query)).scalar_one())


async def test_a_full_server_is_unavailable(db: Database, stack: DevStack, database_url: str) -> None:
    """PostgreSQL refuses connections beyond a database's limit as it does beyond max_connections."""
    name = database_url.split("?")[0].rsplit("/", 1)[1]
    await db.sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0')
    await db.sql("CREATE ROLE guest LOGIN")
    try:
        async with open_engine(database_url.replace("taskql@", "guest@"), 1) as engine:
            with pytest.raises(Unavailable):
                await PostgresTasks(engine).ping()
    finally:
        await db.sql("DROP ROLE guest")
        await db.sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1')


async def test_a_pool_that_stays_exhausted_is_unavailable(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskql.adapters.postgres.engine.POOL_WAIT_SECONDS", 0.01)
    async with open_engine(database_url, 1) as engine, engine.connect():
        with pytest.raises(Unavailable):
            await PostgresTasks(engine).ping()


async def test_a_task_at_an_event_is_the_task_at_that_version(db: Database) -> None:
    before = await db.create()
    claimed = await db.claim(before.id)
    after = await db.leases.progress(claimed.lease, Progress(0.5, "half"))
    assert before.at(claimed.task) == claimed.task
    assert before.at(after) == await db.task(before.id)
