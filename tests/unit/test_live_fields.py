"""`asOf` and `taskUpdates` as clients get them, over scripted parts."""

from dataclasses import replace

import pytest

from taskql.errors import Unavailable
from taskql.lifecycle import TaskStatus
from taskql.listing import TaskFilter
from tests.unit.stub_api import NOW, STORED, StubApi, code

UPDATES = "subscription ($filter: TaskFilter) {taskUpdates(filter: $filter) {id version status}}"


@pytest.mark.parametrize(
    "document",
    [
        "{tasks {asOf}}",
        "{tasks {nodes {id} moment: asOf}}",
        "{tasks {... on TaskConnection {... {asOf}}}}",
        "{tasks {...Outer}} fragment Outer on TaskConnection {...Inner} "
        "fragment Inner on TaskConnection {asOf}",
        "{tasks {nodes {id}} tasks {asOf}}",
    ],
)
async def test_as_of_is_taken_before_the_page_for_those_who_ask(document: str) -> None:
    api = StubApi()
    found = (await api.data(document))["tasks"]
    assert found.get("asOf", found.get("moment")) == "2026-11-22T09:30:00.000000Z"
    assert api.store.moments == [NOW]  # which the stub refuses once a page was read


async def test_as_of_costs_those_nothing_who_do_not_ask() -> None:
    api = StubApi()
    await api.data("{tasks {nodes {id}}}")
    assert api.store.moments == []


async def test_updates_are_the_states_that_the_feed_tells() -> None:
    api = StubApi()
    api.feeds.states = [STORED, replace(STORED, version=2)]
    results = await api.stream(UPDATES, filter={"status": ["PENDING"], "titleContains": "t"})
    assert [result.data["taskUpdates"]["version"] for result in results if result.data] == [1, 2]
    assert api.feeds.asked == [("alice", TaskFilter(status=[TaskStatus.PENDING], title_contains="t"))]
    assert api.feeds.closed


async def test_without_a_filter_all_states_are_wanted() -> None:
    api = StubApi()
    await api.stream("subscription {taskUpdates {id}}")
    assert api.feeds.asked == [("alice", TaskFilter())]


async def test_what_ends_the_feed_is_an_error_at_the_field() -> None:
    api = StubApi()
    api.feeds.failure = Unavailable("stopping")
    [result] = await api.stream(UPDATES)
    assert result.errors is not None
    error = dict(result.errors[0].formatted)
    assert (code(error), error["path"]) == ("UNAVAILABLE", ["taskUpdates"])


async def test_a_filter_that_can_not_be_is_refused() -> None:
    api = StubApi()
    [result] = await api.stream(UPDATES, filter={"titleContains": ""})
    assert result.errors is not None
    assert code(dict(result.errors[0].formatted)) == "BAD_USER_INPUT"
    assert api.feeds.asked == []
