"""Claims and outcomes by the group: what goes wrong with some is theirs alone."""

from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from taskql.adapters.postgres import claims
from taskql.adapters.postgres.batches import each_for_itself
from taskql.adapters.postgres.grouped_leases import GroupedLeases
from taskql.adapters.postgres.leases import PostgresLeases
from taskql.errors import Unavailable
from taskql.ports import Claimed
from taskql.task import Lease
from tests.unit.scripted import a_task

MINUTE = timedelta(minutes=1)
AWAY = Unavailable("away")


class Work:
    """Says a number again, alone or with others; some it refuses, and at some PostgreSQL goes away."""

    def __init__(self, refused: set[int], away: set[int]) -> None:
        self._refused = refused
        self._away = away
        self.groups: list[list[int]] = []

    async def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(items))
        if self._refused & set(items):
            raise ValueError
        if self._away & set(items):
            raise AWAY
        return list(items)


async def test_what_is_refused_together_is_tried_one_by_one() -> None:
    work = Work({2}, set())
    one, two, three = await each_for_itself([1, 2, 3], work)
    assert (one, type(two), three) == (1, ValueError, 3)
    assert work.groups == [[1, 2, 3], [1], [2], [3]]


async def test_an_outage_on_the_way_leaves_what_is_done_and_tries_no_more() -> None:
    work = Work({1}, {3})
    one, *others = await each_for_itself([1, 2, 3, 4], work)
    assert type(one) is ValueError
    assert others == [2, AWAY, AWAY]
    assert work.groups == [[1, 2, 3, 4], [1], [2], [3]]


async def test_an_outage_is_everybodys() -> None:
    with pytest.raises(Unavailable):
        await each_for_itself([1, 2], Work(set(), {2}))


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> dict[UUID, Any]:
    """What CLAIM answers; whoever asks why others were missed meets an outage."""
    won: dict[UUID, Any] = {}

    async def rows(engine: Any, ids: Sequence[UUID], **values: Any) -> list[dict[str, Any]]:
        return [{"id": id, "task": won[id], "traceparent": None} for id in ids if id in won]

    def task_from(row: Any) -> Any:
        if row["task"] is None:
            raise TypeError("a field that this version does not know")
        return row["task"]

    async def misses(*_: Any) -> Any:
        raise AWAY

    monkeypatch.setattr(claims, "CLAIM", SimpleNamespace(rows=rows))
    monkeypatch.setattr(claims, "task_from", task_from)
    monkeypatch.setattr(claims, "_misses", misses)
    return won


async def test_attempts_that_have_begun_are_not_lost_with_what_was_missed(
    postgres: dict[UUID, Any],
) -> None:
    task, missed, strange = a_task(uuid4()), uuid4(), uuid4()
    postgres.update({task.id: task, strange: None})
    leases = PostgresLeases(None, MINUTE)  # type: ignore[arg-type]
    found = await leases.claim_many([missed, task.id, strange], [task.kind], MINUTE)
    assert found[:2] == [AWAY, Claimed(Lease(task.id, task.attempt), task)]
    assert type(found[2]) is TypeError
    assert isinstance(await GroupedLeases(leases).claim(task.id, [task.kind], MINUTE), Claimed)
    with pytest.raises(Unavailable):
        await GroupedLeases(leases).claim(missed, [task.kind], MINUTE)
