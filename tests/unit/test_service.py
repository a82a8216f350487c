"""TaskService: what is refused, what is stored, and who hears of it."""

# mypy: disable-error-code="empty-body"

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from taskql import TaskContext, handler
from taskql.creation import MAX_INPUT_BYTES, CreateRequest, request_hash
from taskql.errors import InvalidInput, NotFinished, Unavailable
from taskql.handler import declared
from taskql.lifecycle import TaskStatus
from taskql.listing import Page, PageRequest, TaskFilter
from taskql.ports import Conflict, Created, Creation, Dispatch, Existing, Newer, NotStored
from taskql.queues import Queue, TaskPriority
from taskql.registry import Registry, load_registry
from taskql.service import TaskService
from taskql.storable import UNSTORABLE_NUMBER, UNSTORABLE_TEXT, json_size
from taskql.task import NewTask, Task, TaskEvent
from tests.unit.stub_api import StubControl

NOW = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)


def a_task(
    task_id: UUID | None = None,
    *,
    owner: str = "ada",
    title: str = "a title",
    ordering_key: str | None = None,
) -> Task:
    return Task(
        id=task_id or uuid4(),
        status=TaskStatus.PENDING,
        version=1,
        attempt=0,
        max_attempts=3,
        attempts=(),
        progress=None,
        result=None,
        failure=None,
        updated_at=NOW,
        started_at=None,
        finished_at=None,
        owner=owner,
        kind="process",
        title=title,
        description=None,
        input={},
        priority=TaskPriority.NORMAL,
        ordering_key=ordering_key,
        tags=(),
        run_at=None,
        expires_at=None,
        created_at=NOW,
    )


class Loose(BaseModel):
    value: Any = None
    number: float = 0


class Out(BaseModel):
    x: int


@handler("loose", max_attempts=7)
async def loose(work: Loose, task: TaskContext) -> Out: ...


class Store:
    """Stores each task, unless the test scripts another outcome by its title."""

    def __init__(self) -> None:
        self.asked: list[NewTask] = []
        self.batches: list[int] = []
        self.held: Existing | Conflict | None = None
        self.looked_up: list[NewTask] = []
        self.scripted: dict[str, Creation | Exception] = {}
        self.calls: list[tuple[Any, ...]] = []

    async def create(self, tasks: Sequence[NewTask]) -> list[Creation]:
        self.asked += tasks
        self.batches.append(len(tasks))
        outcomes: list[Creation] = []
        for task in tasks:
            outcome = self.scripted.get(task.title) or stored(task.title)
            if isinstance(outcome, Exception):
                raise outcome
            outcomes.append(outcome)
        return outcomes

    async def repeated(self, task: NewTask) -> Existing | Conflict | None:
        self.looked_up.append(task)
        return self.held

    async def fetch(self, owner: str | None, ids: Collection[UUID]) -> dict[UUID, Task]:
        self.calls.append((owner, *ids))
        return {id: a_task(id, owner=owner or "ada") for id in ids if id != MISSING}

    async def page(self, owner: str | None, filter: TaskFilter, request: PageRequest) -> Page:
        self.calls.append((owner, filter, request))
        return Page((), False, False)

    async def count(self, owner: str | None, filter: TaskFilter, limit: int) -> int:
        self.calls.append((owner, filter, limit))
        return 3

    async def newer(self, known: Mapping[UUID, int]) -> Newer: ...

    async def changed_since(self, owner: str, moment: datetime, limit: int) -> list[Task]: ...

    async def as_of(self) -> datetime: ...

    async def ping(self) -> None: ...


MISSING = UUID(int=404)


def stored(title: str) -> Created:
    task = a_task(title=title)
    return Created(task, Dispatch(task.id, task.queue, 0))


class Cache:
    """Knows what the test gives it."""

    def __init__(self) -> None:
        self.known: dict[UUID, Task] = {}
        self.kept: list[Task] = []

    async def fetch(self, task_id: UUID) -> Task | None:
        return self.known.get(task_id)

    def keep(self, task: Task) -> None:
        self.kept.append(task)


class Bench:
    """A service on a scripted store, and what it told others."""

    def __init__(self) -> None:
        self.store = Store()
        self.published: list[TaskEvent] = []
        self.forgotten: list[UUID] = []
        self.cache = Cache()
        self.offered: list[Dispatch] = []
        self.woken: list[set[str]] = []
        own = declared(loose)
        assert own is not None
        registry = Registry([*load_registry().values(), own])
        self.control = StubControl()
        self.service = TaskService(self.store, self.control, self.store, self, registry, self, self.cache)

    def publish(self, event: TaskEvent) -> None:
        self.published.append(event)

    def forget(self, task_id: UUID) -> None:
        self.forgotten.append(task_id)

    def offer(self, dispatches: Sequence[Dispatch]) -> None:
        self.offered.extend(dispatches)

    def wake(self, groups: Collection[str] = ()) -> None:
        self.woken.append(set(groups))

    async def create(self, **fields: Any) -> NewTask:
        """What the store is asked for."""
        await self.service.create("ada", CreateRequest(**({"title": "a title"} | fields)))
        return self.store.asked[-1]

    async def refusals(self, **fields: Any) -> list[tuple[tuple[str, ...], str]]:
        with pytest.raises(InvalidInput) as refused:
            await self.create(**fields)
        assert self.store.asked == []
        assert self.offered == []
        assert self.published == []
        return list(refused.value.issues)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ---------------------------------------------------------------- what is stored


async def test_a_title_alone_is_a_task_of_the_default_kind(bench: Bench) -> None:
    new = await bench.create()
    assert new == NewTask(
        owner="ada", kind="process", title="a title", description=None, input=new.input, max_attempts=3
    )
    assert new.input == bench.service.registry["process"].stored({})


async def test_a_kind_brings_its_own_rules_and_defaults(bench: Bench) -> None:
    new = await bench.create(kind="loose", work={"value": [1]})
    assert (new.kind, new.input, new.max_attempts) == ("loose", {"value": [1], "number": 0}, 7)
    assert (await bench.create(kind="loose")).input == {"value": None, "number": 0}


async def test_a_title_loses_the_space_around_it(bench: Bench) -> None:
    assert (await bench.create(title=" \t a  title \n")).title == "a  title"


@pytest.mark.parametrize("title", ["x", "x" * 255, "  " + "🚀" * 255 + "  "])
async def test_titles_up_to_255_characters_are_kept(bench: Bench, title: str) -> None:
    assert (await bench.create(title=title)).title == title.strip()


@pytest.mark.parametrize("description", ["", "ä" * 10_000, " kept as it is \n"])
async def test_descriptions_up_to_10_000_characters_are_kept(bench: Bench, description: str) -> None:
    assert (await bench.create(description=description)).description == description


@pytest.mark.parametrize("tag", ["x", "ä" * 64, "🚀" * 64, " "])
async def test_tags_up_to_64_characters_are_kept(bench: Bench, tag: str) -> None:
    assert (await bench.create(tags=[tag])).tags == (tag,)


async def test_up_to_ten_tags_are_kept_in_their_order_each_once(bench: Bench) -> None:
    ten = [f"tag {number}" for number in range(10)]
    assert (await bench.create(tags=ten)).tags == tuple(ten)
    assert (await bench.create(tags=["b", "a", "b", "B", "a"])).tags == ("b", "a", "B")
    assert (await bench.create(tags=["same"] * 10)).tags == ("same",)


@pytest.mark.parametrize("key", ["k", "ä" * 128])
async def test_ordering_keys_up_to_128_characters_are_kept(bench: Bench, key: str) -> None:
    new = await bench.create(ordering_key=key)
    assert (new.ordering_key, new.queue) == (key, Queue.FIFO)


@pytest.mark.parametrize("priority", TaskPriority)
async def test_every_priority_is_kept(bench: Bench, priority: TaskPriority) -> None:
    assert (await bench.create(priority=priority)).priority is priority


PAST, SOON, LATER = (datetime.now(UTC) + timedelta(hours=hours) for hours in (-1, 1, 2))
LAST = datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("run_at", "expires_at"),
    [
        (None, None),
        (PAST, None),
        (LAST, None),
        (None, SOON),
        (None, LAST),
        (PAST, SOON),
        (SOON, LATER),
        (LAST - timedelta(microseconds=1), LAST),
    ],
)
async def test_times_that_leave_a_moment_to_start_are_kept(
    bench: Bench, run_at: datetime | None, expires_at: datetime | None
) -> None:
    new = await bench.create(run_at=run_at, expires_at=expires_at)
    assert (new.run_at, new.expires_at) == (run_at, expires_at)


async def test_only_a_request_with_a_key_is_hashed(bench: Bench) -> None:
    assert (await bench.create(sent={"title": "x"})).request_hash is None
    new = await bench.create(sent={"title": "x"}, idempotency_key="k")
    assert (new.idempotency_key, new.request_hash) == ("k", request_hash({"title": "x"}))


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("fields", "path", "why"),
    [
        ({"title": ""}, ("title",), "is blank"),
        ({"title": " \n\t "}, ("title",), "is blank"),
        ({"title": "x" * 256}, ("title",), "has 256 characters; the most is 255"),
        ({"title": "a\x00b"}, ("title",), UNSTORABLE_TEXT),
        ({"title": "\ud800"}, ("title",), UNSTORABLE_TEXT),
        ({"description": "x" * 10_001}, ("description",), "has 10001 characters; the most is 10000"),
        ({"description": "\x00"}, ("description",), UNSTORABLE_TEXT),
        ({"idempotency_key": ""}, ("idempotency_key",), "is blank"),
        ({"idempotency_key": "x" * 256}, ("idempotency_key",), "has 256 characters"),
        ({"idempotency_key": "\x00"}, ("idempotency_key",), UNSTORABLE_TEXT),
        ({"ordering_key": ""}, ("ordering_key",), "is blank"),
        ({"ordering_key": "x" * 129}, ("ordering_key",), "has 129 characters; the most is 128"),
        ({"ordering_key": "\ud800"}, ("ordering_key",), UNSTORABLE_TEXT),
        ({"ordering_key": "k", "priority": TaskPriority.HIGH}, ("priority",), "is HIGH; with an orderingKey"),
        ({"ordering_key": "k", "priority": TaskPriority.LOW}, ("priority",), "it must be NORMAL"),
        ({"tags": ["a", ""]}, ("tags", "1"), "is blank"),
        ({"tags": ["a", "a", "x" * 65]}, ("tags", "2"), "has 65 characters; the most is 64"),
        ({"tags": ["a\x00"]}, ("tags", "0"), UNSTORABLE_TEXT),
        ({"tags": ["\udfff"]}, ("tags", "0"), UNSTORABLE_TEXT),
        ({"tags": ["same"] * 11}, ("tags",), "has 11 tags; the most is 10"),
        ({"expires_at": PAST}, ("expires_at",), "has passed already"),
        ({"expires_at": PAST, "run_at": LATER}, ("expires_at",), "has passed already"),
        ({"expires_at": SOON, "run_at": SOON}, ("expires_at",), "is no later than runAt"),
        ({"expires_at": SOON, "run_at": LAST}, ("expires_at",), "is no later than runAt"),
        ({"kind": "reverse", "work": {}}, ("work", "reverse", "input_data"), "Field required"),
        ({"kind": "loose", "work": {"value": ["\x00"]}}, ("work", "loose", "value", "0"), UNSTORABLE_TEXT),
        ({"kind": "loose", "work": {"number": float("nan")}}, ("work", "loose", "number"), UNSTORABLE_NUMBER),
        ({"kind": "loose", "work": {"value": {"\ud800": 1}}}, ("work", "loose"), UNSTORABLE_TEXT),
        ({"kind": "loose", "work": {"value": "x" * MAX_INPUT_BYTES}}, ("work", "loose"), "the most is"),
    ],
)  # fmt: skip
async def test_what_cannot_be_accepted_is_refused_by_its_place_and_nothing_is_stored(
    bench: Bench, fields: dict[str, Any], path: tuple[str, ...], why: str
) -> None:
    [(place, reason)] = await bench.refusals(**fields)
    assert place == path
    assert why in reason


async def test_all_that_is_wrong_is_told_at_once(bench: Bench) -> None:
    refused = await bench.refusals(
        title="",
        description="\x00",
        idempotency_key="",
        ordering_key="",
        priority=TaskPriority.LOW,
        tags=["", "a", ""],
        kind="loose",
        work={"value": "\x00"},
        expires_at=PAST,
    )
    assert [".".join(path) for path, _ in refused] == [
        "title",
        "description",
        "idempotency_key",
        "ordering_key",
        "priority",
        "tags.0",
        "tags.2",
        "work.loose.value",
        "expires_at",
    ]


async def test_the_largest_input_is_accepted(bench: Bench) -> None:
    room = MAX_INPUT_BYTES - json_size({"value": "", "number": 0.0})
    assert (await bench.create(kind="loose", work={"value": "x" * room})).input["value"]
    assert len(bench.store.asked) == 1


# ---------------------------------------------------------------- who hears of it


async def test_a_stored_task_is_offered_to_the_relay_and_published(bench: Bench) -> None:
    creation = await bench.service.create("ada", CreateRequest(title="new"))
    assert isinstance(creation, Created)
    assert bench.offered == [creation.dispatch]
    assert bench.published == [creation.task]


@pytest.mark.parametrize("outcome", [Existing(a_task()), Conflict(uuid4())])
async def test_what_was_stored_before_is_news_to_nobody(bench: Bench, outcome: Creation) -> None:
    bench.store.scripted["again"] = outcome
    assert await bench.service.create("ada", CreateRequest(title="again")) == outcome
    assert bench.offered == []
    assert bench.published == []


async def test_a_batch_is_answered_item_by_item_and_only_news_is_told(bench: Bench) -> None:
    known = bench.store.scripted["known"] = Existing(a_task())
    odd = bench.store.scripted["odd"] = NotStored(ValueError("odd"))
    titles = ["first", "known", "", "odd", "second"]
    answers = await bench.service.create_many("ada", [CreateRequest(title=title) for title in titles])
    first, again, wrong, refused, second = answers
    assert again is known
    assert refused is odd
    assert isinstance(wrong, InvalidInput)
    assert isinstance(first, Created)
    assert isinstance(second, Created)
    assert bench.store.batches == [4]
    assert bench.offered == [first.dispatch, second.dispatch]
    assert bench.published == [first.task, second.task]


async def test_of_a_batch_without_a_good_task_the_store_hears_nothing(bench: Bench) -> None:
    assert await bench.service.create_many("ada", []) == []
    [wrong] = await bench.service.create_many("ada", [CreateRequest(title="")])
    assert isinstance(wrong, InvalidInput)
    assert bench.store.batches == []


async def test_what_may_not_be_sent_yet_is_told_but_not_offered(bench: Bench) -> None:
    waiting = bench.store.scripted["later"] = Created(a_task(), None)
    await bench.service.create("ada", CreateRequest(title="later", run_at=LATER))
    assert bench.offered == []
    assert bench.published == [waiting.task]


async def test_the_relay_looks_after_the_groups_of_new_ordered_tasks(bench: Bench) -> None:
    tasks = {title: a_task(title=title, ordering_key=title[0]) for title in ("a1", "a2", "b1")}
    bench.store.scripted |= {title: Created(task, None) for title, task in tasks.items()}
    await bench.service.create_many("ada", [CreateRequest(title=title) for title in tasks])
    assert bench.woken == [{tasks["a1"].ordering_group, tasks["b1"].ordering_group}]


async def test_the_relay_looks_after_the_group_of_a_cancelled_task(bench: Bench) -> None:
    bench.control.changed = a_task()
    await bench.service.cancel("ada", uuid4())
    assert bench.woken == []
    bench.control.changed = ordered = a_task(ordering_key="k")
    await bench.service.cancel("ada", uuid4())
    assert bench.woken == [{ordered.ordering_group}]


async def test_nobody_hears_of_a_task_that_could_not_be_stored(bench: Bench) -> None:
    bench.store.scripted["lost"] = Unavailable("away")
    with pytest.raises(Unavailable):
        await bench.service.create("ada", CreateRequest(title="lost"))
    assert bench.offered == []
    assert bench.published == []


# ---------------------------------------------------------------- requests that are repeated


@pytest.mark.parametrize("held", [Existing(a_task()), Conflict(uuid4())])
async def test_a_repeated_request_is_answered_though_its_times_have_passed(
    bench: Bench, held: Existing | Conflict
) -> None:
    bench.store.held = held
    request = CreateRequest(title="a", idempotency_key="k", expires_at=PAST, sent={"title": "a"})
    assert await bench.service.create("ada", request) is held
    [asked] = bench.store.looked_up
    assert (asked.owner, asked.idempotency_key) == ("ada", "k")
    assert asked.request_hash == request_hash({"title": "a"})
    assert (bench.store.asked, bench.offered, bench.published) == ([], [], [])


async def test_a_first_request_whose_times_have_passed_is_refused(bench: Bench) -> None:
    [(place, _)] = await bench.refusals(idempotency_key="k", expires_at=PAST)
    assert place == ("expires_at",)
    assert len(bench.store.looked_up) == 1


async def test_keys_are_looked_up_only_for_requests_whose_times_have_passed(bench: Bench) -> None:
    requests = [
        CreateRequest(title="times to come", idempotency_key="a", expires_at=SOON),
        CreateRequest(title="no times", idempotency_key="b"),
        CreateRequest(title="no key", expires_at=PAST),
        CreateRequest(title="", idempotency_key="c", expires_at=PAST),
        CreateRequest(title="both", idempotency_key="d", expires_at=PAST),
    ]
    await bench.service.create_many("ada", requests)
    assert [task.title for task in bench.store.looked_up] == ["both"]
    assert bench.store.batches == [2]


# ---------------------------------------------------------------- reading


async def test_every_request_goes_to_the_store_for_its_owner(bench: Bench) -> None:
    task_id, request, filter = uuid4(), PageRequest(limit=3), TaskFilter(status=[TaskStatus.FAILED])
    assert await bench.service.get("ada", task_id) == a_task(task_id, owner="ada")
    assert await bench.service.get("ada", MISSING) is None
    assert set(await bench.service.fetch("bob", [task_id, MISSING])) == {task_id}
    await bench.service.page("cy", filter, request)
    assert await bench.service.count("dee", filter, 10) == 3
    assert bench.store.calls == [
        ("ada", task_id),
        ("ada", MISSING),
        ("bob", task_id, MISSING),
        ("cy", filter, request),
        ("dee", filter, 10),
    ]


async def test_a_cached_task_is_its_owner_s_answer(bench: Bench) -> None:
    task = a_task(owner="ada", title="cached")
    bench.cache.known[task.id] = task
    assert await bench.service.get("ada", task.id) is task
    assert (bench.store.calls, bench.cache.kept) == ([], [])


async def test_somebody_else_s_cached_task_is_sought_like_a_missing_one(bench: Bench) -> None:
    task = a_task(MISSING, owner="ada")
    bench.cache.known[task.id] = task
    assert await bench.service.get("mallory", MISSING) is None
    assert bench.store.calls == [("mallory", MISSING)]
    assert bench.cache.kept == []


async def test_what_the_cache_does_not_know_is_read_and_kept(bench: Bench) -> None:
    task_id = uuid4()
    task = await bench.service.get("ada", task_id)
    assert bench.cache.kept == [task]
    assert bench.store.calls == [("ada", task_id)]


async def test_several_tasks_are_read_from_the_store_alone(bench: Bench) -> None:
    task = a_task(owner="ada", title="cached")
    bench.cache.known[task.id] = task
    assert (await bench.service.fetch("ada", [task.id]))[task.id].title != "cached"


async def test_a_deleted_task_is_forgotten_and_one_that_is_not_deleted_is_not(bench: Bench) -> None:
    task = a_task(owner="ada")
    with pytest.raises(NotFinished):
        await bench.service.delete("ada", task.id)
    assert bench.forgotten == []
    bench.control.changed = task
    await bench.service.delete("ada", task.id)
    assert bench.forgotten == [task.id]


async def test_a_refusal_tells_what_is_stored_whatever_is_cached(bench: Bench) -> None:
    task = replace(a_task(owner="ada"), status=TaskStatus.COMPLETED)
    bench.cache.known[task.id] = task
    with pytest.raises(NotFinished, match="PENDING"):
        await bench.service.delete("ada", task.id)


async def test_a_service_without_a_cache_reads_the_store(bench: Bench) -> None:
    service = TaskService(bench.store, bench.control, bench.store, bench, bench.service.registry, bench)
    task_id = uuid4()
    assert (await service.get("ada", task_id)) == a_task(task_id, owner="ada")


# ---------------------------------------------------------------- hashes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1, "b": None}, {"a": 1}),
        ({"a": {"c": [1]}, "b": None}, {"a": {"c": [1.0]}}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": -0.0}, {"a": 0}),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        (None, None),
    ],
)
def test_requests_that_mean_the_same_have_one_hash(one: Any, other: Any) -> None:
    assert request_hash(one) == request_hash(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"a": True}),
        ({"a": 0}, {"a": False}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": [None, 1]}, {"a": [1]}),
        ({"a": {"b": None}}, {"a": {}}),
        ({"a": ""}, {}),
        ({"a": {}}, {}),
        ({"a": 1.5}, {"a": 1}),
        ({"a": "ä"}, {"a": "a\u0308"}),
        ({"a": 2**53 + 1}, {"a": 2**53}),
        ({"a": "x", "b": ""}, {"a": "", "b": "x"}),
    ],
)
def test_requests_that_mean_something_else_have_another(one: Any, other: Any) -> None:
    assert request_hash(one) != request_hash(other)
