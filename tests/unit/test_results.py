"""`Task.result` and `resultUrl` of results that are not in PostgreSQL, over a scripted store."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from gql import results as results_module
from gql.results import EXCEEDED, READS_AT_ONCE, ResultReader, Results
from gql.selection import Selections
from gql.watched import Watched
from taskql.errors import TooLarge, Unavailable
from taskql.lifecycle import TaskStatus
from tests.unit.stub_api import STORED, TASK_ID, StubApi, StubResults, code

RESULT = {"output_data": "olleh"}
SHOWN = {"outputData": "olleh"}
TASK = "query ($id: ID!) { task(id: $id) %s }"
REVERSED = "result { ... on ReverseResult { outputData } }"
ONE = TASK % f"{{ id {REVERSED} }}"
WATCH = f"subscription ($id: ID!) {{ taskStatus(id: $id) {{ id {REVERSED} }} }}"


@pytest.fixture
def api() -> StubApi:
    """One task, COMPLETED, with its result in the store."""
    api = StubApi()
    location = api.results.store(RESULT)
    api.store.task = replace(STORED, status=TaskStatus.COMPLETED, version=3, result_location=location)
    return api


async def test_a_stored_result_is_shown_like_any_other(api: StubApi) -> None:
    assert await api.data(ONE, id=str(TASK_ID)) == {"task": {"id": str(TASK_ID), "result": SHOWN}}


async def test_nothing_is_read_for_those_who_do_not_ask(api: StubApi) -> None:
    await api.data(TASK % "{ id status input resultUrl }", id=str(TASK_ID))
    await api.data(TASK % "{ id result @skip(if: true) { __typename } }", id=str(TASK_ID))
    assert api.results.reads == []


async def test_a_result_in_the_row_has_no_url_and_asks_no_store(api: StubApi) -> None:
    api.store.task = replace(api.store.task, result=RESULT, result_location=None)
    shown = await api.data(
        TASK % "{ result { ... on ReverseResult { outputData } } resultUrl }", id=str(TASK_ID)
    )
    assert shown == {"task": {"result": SHOWN, "resultUrl": None}}
    assert api.results.reads == []


async def test_a_url_is_good_for_five_minutes(api: StubApi) -> None:
    shown = await api.data(TASK % "{ resultUrl }", id=str(TASK_ID))
    assert shown == {"task": {"resultUrl": "https://signed/s3://bucket/one?300"}}


async def test_a_document_is_read_once_however_often_an_operation_shows_it(api: StubApi) -> None:
    document = """query ($id: ID!) {
      task(id: $id) { result { ...R } again: result { ...R } } other: task(id: $id) { result { ...R } }
      tasks { nodes { result { ...R } } }
    } fragment R on ReverseResult { outputData }"""
    shown = await api.data(document, id=str(TASK_ID))
    assert json.dumps(shown).count("olleh") == 4
    assert api.results.reads == ["s3://bucket/one"]
    await api.data(ONE, id=str(TASK_ID))
    assert len(api.results.reads) == 2, "the next operation reads anew"


async def test_a_store_that_is_away_costs_the_field_alone(api: StubApi) -> None:
    api.results.away = True
    answer = await api.execute(ONE, id=str(TASK_ID))
    assert answer.data == {"task": {"id": str(TASK_ID), "result": None}}
    [error] = [dict(each.formatted) for each in answer.errors or ()]
    assert (code(error), error["path"]) == ("UNAVAILABLE", ["task", "result"])
    assert error["extensions"] == {"code": "UNAVAILABLE", "retryable": True}


async def test_a_document_that_is_gone_is_an_error_that_tells_of_no_place(api: StubApi) -> None:
    api.results.documents.clear()
    error = await api.error(ONE, id=str(TASK_ID))
    assert (code(error), error["path"]) == ("NOT_FOUND", ["task", "result"])
    assert error["message"] == "The document with this result is gone from where it was stored."


async def test_a_deployment_that_has_no_store_any_more_says_it_is_away() -> None:
    results = Results(ResultReader(None))
    with pytest.raises(Unavailable, match="RESULTS_BUCKET"):
        await results.result("s3://bucket/one")
    with pytest.raises(Unavailable, match="RESULTS_BUCKET"):
        await results.url("s3://bucket/one")


# ---------------------------------------------------------------- bounds


async def test_what_an_operation_shows_has_a_limit_that_counts_each_showing(
    api: StubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(api.results.documents["s3://bucket/one"])
    monkeypatch.setattr(results_module, "MAX_OPERATION_BYTES", 2 * size + 1)
    thrice = " ".join(f"{alias}: {REVERSED}" for alias in "abc")
    answer = await api.execute(TASK % f"{{ {thrice} }}", id=str(TASK_ID))
    assert answer.data is not None
    assert [answer.data["task"][alias] for alias in "abc"] == [SHOWN, SHOWN, None]
    [error] = [dict(each.formatted) for each in answer.errors or ()]
    assert (code(error), error["message"], error["path"]) == ("TOO_LARGE", EXCEEDED, ["task", "c"])
    assert "resultUrl" in EXCEEDED


async def test_a_document_that_is_too_large_by_itself_is_not_read(
    api: StubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_module, "MAX_OPERATION_BYTES", 10)
    assert code(await api.error(ONE, id=str(TASK_ID))) == "TOO_LARGE"


async def test_nothing_more_is_read_once_an_operation_has_had_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results_module, "READS_AT_ONCE", 1)
    store = StubResults()
    locations = [store.store("x" * 50, f"s3://bucket/{n}") for n in range(20)]
    monkeypatch.setattr(results_module, "MAX_OPERATION_BYTES", len(store.documents[locations[0]]))
    results = Results(ResultReader(store))
    outcomes = await asyncio.gather(*map(results.result, locations), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [str] + [TooLarge] * 19
    assert len(store.reads) == 1


async def test_few_documents_are_read_at_a_time_in_all_operations_together() -> None:
    store = StubResults()
    locations = [store.store(n, f"s3://bucket/{n}") for n in range(50)]
    reader = ResultReader(store)
    read = await asyncio.gather(*(Results(reader).result(location) for location in locations))
    assert read == list(range(50))
    assert store.most_at_once == READS_AT_ONCE


async def test_a_client_that_leaves_takes_no_result_from_others_of_its_operation() -> None:
    store = StubResults()
    location = store.store("kept")
    results = Results(ResultReader(store))
    leaving = asyncio.create_task(results.result(location))
    staying = asyncio.create_task(results.result(location))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == "kept"


# ---------------------------------------------------------------- subscriptions


async def test_all_who_watch_a_task_share_one_reading(api: StubApi) -> None:
    part: Any = object()  # the stubs can be compared, so they can't be hashed
    selections = Selections(api.schema)
    contexts = [
        replace(api.context, hub=part, feeds=part, queues=part, results=Results(api.context.results.reader))
        for _ in range(1_000)
    ]
    requests = [selections.read(WATCH, {"id": str(TASK_ID)}, None, context) for context in contexts]
    watched = Watched(TASK_ID)
    watched.takes(api.store.task)
    texts = [request.selection.text(watched) for request in requests if request is not None]
    told = {await text for text in texts if isinstance(text, asyncio.Future)}
    assert len(texts) == 1_000
    assert [json.loads(text) for text in told] == [
        {"data": {"taskStatus": {"id": str(TASK_ID), "result": SHOWN}}}
    ]
    assert api.results.reads == ["s3://bucket/one"]


async def test_each_event_of_a_subscription_has_a_share_of_its_own(
    api: StubApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_module, "MAX_OPERATION_BYTES", len(api.results.documents["s3://bucket/one"]))
    api.feeds.states = [replace(api.store.task, version=version) for version in (3, 4)]
    events = await api.stream(f"subscription {{ taskUpdates {{ {REVERSED} }} }}")
    assert [(event.data, event.errors) for event in events] == [
        ({"taskUpdates": {"result": SHOWN}}, None)
    ] * 2


async def test_a_subscription_goes_on_where_the_store_is_away(api: StubApi) -> None:
    api.results.away = True
    api.feeds.states = [api.store.task]
    [event] = await api.stream("subscription { taskUpdates { id result { __typename } } }")
    assert event.data == {"taskUpdates": {"id": str(TASK_ID), "result": None}}
    assert [code(dict(error.formatted)) for error in event.errors or ()] == ["UNAVAILABLE"]
