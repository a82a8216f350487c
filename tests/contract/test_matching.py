"""What a filter says of a task in memory is what PostgreSQL says of it."""

import sys
import unicodedata
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from taskql.lifecycle import TaskStatus
from taskql.listing import PageRequest, TaskFilter, without_case
from taskql.queues import TaskPriority
from taskql.task import Failure, Task
from tests.contract.conftest import OWNER, Database, new_task

TITLES = ["Grüße 🚀", "GRÜSSE", "straße", "STRASSE", "İstanbul", "istanbul", "ΣΊΣΥΦΟΣ", "σίσυφος", "σίσυφοσ",
          "100% sure", "a_b", "back\\slash", "it's", "ﬁne", "FINE", "Ǆ ǅ ǆ", "K", "k", "ẞ", "ß"]  # fmt: skip
PARTS = ["grü", "SS", "ß", "i", "İ", "ΣΟΣ", "σ", "ς", "%", "_", "\\", "'", "", "ǆ", "k", "fi", "ﬁ", "nowhere"]
TAGS = ["x", "y", "X", "{x,y}", "NULL", "für 🚀"]
KEYS = ["k", "K", "k "]
KINDS = ["reverse", "compute"]


def some(random: Random, values: list[Any], most: int = 3) -> list[Any]:
    return random.sample(values, random.randint(0, min(most, len(values))))


async def tasks_of_all_sorts(db: Database, random: Random, count: int) -> list[Task]:
    new = []
    for number in range(count):
        key = random.choice([None, None, *KEYS])
        new.append(
            new_task(
                random.choice(TITLES),
                key=str(number),
                kind=random.choice(KINDS),
                tags=some(random, TAGS),
                ordering_key=key,
                priority=TaskPriority.NORMAL if key else random.choice(list(TaskPriority)),
            )
        )
    for start in range(0, count, 40):  # so that moments differ
        await db.tasks.create(new[start : start + 40])
    rows = await db.sql("SELECT id FROM tasks WHERE kind = 'reverse' AND ordering_key IS NULL")
    for row in random.sample(rows, len(rows) // 2):
        claim = await db.claim(row["id"])
        end = random.choice(["complete", "fail", "cancel", "go on"])
        if end == "complete":
            await db.leases.complete(claim.lease, {})
        elif end == "fail":
            await db.leases.fail(claim.lease, Failure("PERMANENT", "no", False))
        elif end == "cancel":
            await db.control.cancel(OWNER, claim.task.id)
    return await db.tasks.changed_since(OWNER, datetime.fromisoformat("2020-01-01T00:00:00Z"), 10_000)


def a_filter(random: Random, tasks: list[Task]) -> TaskFilter:
    """One with a few restrictions at a time, so that most let something through."""

    def moment() -> datetime:
        task = random.choice(tasks)
        return random.choice([task.created_at, task.updated_at]) + timedelta(
            microseconds=random.choice([-1, 0, 1])
        )

    choices: dict[str, Callable[[], Any]] = {
        "status": lambda: some(random, list(TaskStatus), 5),
        "kind": lambda: some(random, [*KINDS, "nothing"]),
        "priority": lambda: some(random, list(TaskPriority)),
        "ordering_key": lambda: random.choice(KEYS),
        "tags": lambda: some(random, TAGS, 2),
        "title_contains": lambda: random.choice(PARTS),
        "created_after": moment,
        "created_before": moment,
        "updated_after": moment,
    }
    return TaskFilter(**{name: choices[name]() for name in some(random, list(choices))})


@pytest.mark.parametrize("seed", range(3))
async def test_a_filter_matches_in_memory_what_it_matches_in_postgresql(db: Database, seed: int) -> None:
    random = Random(seed)
    tasks = await tasks_of_all_sorts(db, random, 200)
    found = 0
    for _ in range(250):
        filter = a_filter(random, tasks)
        page = await db.listings.page(OWNER, filter, PageRequest(limit=len(tasks)))
        assert {task.id for task in page.tasks} == {task.id for task in tasks if filter.matches(task)}, filter
        found += 0 < len(page.tasks) < len(tasks)
    assert found > 100


@pytest.mark.parametrize("part", PARTS)
async def test_titles_are_searched_alike(db: Database, part: str) -> None:
    filter = TaskFilter(title_contains=part)
    await db.tasks.create([new_task(title) for title in TITLES])
    page = await db.listings.page(OWNER, filter, PageRequest(limit=100))
    everything = await db.listings.page(OWNER, TaskFilter(), PageRequest(limit=100))
    assert {task.id for task in page.tasks} == {task.id for task in everything.tasks if filter.matches(task)}


async def test_every_letter_that_python_knows_has_the_same_small_letter_in_postgresql(db: Database) -> None:
    letters = [
        chr(code)
        for code in range(1, sys.maxunicode + 1)
        if not 0xD800 <= code <= 0xDFFF and unicodedata.category(chr(code)) != "Cn"
    ]
    rows = await db.sql(
        "SELECT letter, lower(letter COLLATE pg_c_utf8) AS small FROM unnest($1::text[]) AS letter", letters
    )
    different = {row["letter"]: row["small"] for row in rows if row["small"] != without_case(row["letter"])}
    assert different == {}


async def test_a_final_sigma_is_a_sigma(db: Database) -> None:
    word = "ΣΊΣΥΦΟΣ"
    assert await db.value("SELECT lower($1 COLLATE pg_c_utf8)", word) == without_case(word)
