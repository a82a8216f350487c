"""Cursors and the pages that they lead to."""

import base64
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from gql.connection import page_request
from gql.cursors import decode_cursor, encode_cursor
from gql.enums import TaskOrder
from gql.errors import BadUserInput
from taskql.listing import PageRequest, Position, TaskFilter
from taskql.queues import TaskPriority
from tests.unit.stub_api import StubApi, code

PLACE = Position(
    datetime(2026, 11, 22, 9, 30, 0, 123457, tzinfo=UTC), UUID("0198c5a4-6f1e-7b3c-9d2a-4e8f10b7c6d5")
)
CURSOR = encode_cursor(PLACE)


def test_cursor_leads_back_to_its_place_to_the_microsecond() -> None:
    assert decode_cursor("after", CURSOR) == PLACE


def test_cursor_needs_no_escaping_and_is_the_same_in_every_time_zone() -> None:
    elsewhere = Position(PLACE.created_at.astimezone(timezone(timedelta(hours=5.5))), PLACE.id)
    assert encode_cursor(elsewhere) == CURSOR
    assert CURSOR.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "1",
        "abc",
        CURSOR[:-1],
        CURSOR + "A",
        CURSOR + "=",
        "2" + CURSOR[1:],
        CURSOR[1:],
        f" {CURSOR}",
        f"{CURSOR}\n",
        CURSOR.replace(CURSOR[5], "ä"),
        "1\x00" + CURSOR[2:],
        "1\ud800" + CURSOR[2:],
        "1" + base64.urlsafe_b64encode(b"\xff" * 24).decode().replace("_", "/"),
        "1" + base64.urlsafe_b64encode(b"\x7f" * 24).decode(),  # beyond the year 9999
        "1" + "A" * 1000,
    ],
)
def test_malformed_cursor_is_refused_by_the_name_of_its_argument(malformed: str) -> None:
    with pytest.raises(BadUserInput, match="`before`") as refusal:
        decode_cursor("before", malformed)
    assert len(refusal.value.message) < 250
    refusal.value.message.encode()


def page(
    order: TaskOrder = TaskOrder.CREATED_AT_DESC,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    before: str | None = None,
) -> PageRequest:
    return page_request(order, first, after, last, before)


def test_page_is_the_first_twenty_newest_unless_said_otherwise() -> None:
    assert page() == PageRequest(limit=20, descending=True)


def test_last_takes_the_page_from_the_far_end() -> None:
    asked = page(TaskOrder.CREATED_AT_ASC, last=7, before=CURSOR)
    assert asked == PageRequest(limit=7, descending=False, backward=True, before=PLACE)


@pytest.mark.parametrize("size", [-1, 0, 101, 2**31 - 1])
def test_page_size_outside_of_1_to_100_is_refused(size: int) -> None:
    with pytest.raises(BadUserInput, match=f"`first` is {size}; give 1 to 100"):
        page(first=size)
    with pytest.raises(BadUserInput, match=f"`last` is {size}; give 1 to 100"):
        page(last=size)


def test_first_and_last_together_are_refused() -> None:
    with pytest.raises(BadUserInput, match="give one of them"):
        page(first=1, last=1)


async def test_a_page_is_asked_of_the_service_as_the_client_asked_for_it() -> None:
    api = StubApi()
    data = await api.data(
        """query ($after: String) {
          tasks(filter: {status: [PENDING, FAILED], kind: [], titleContains: "a%"}, first: 5, after: $after) {
            nodes {id} edges {cursor node {id}}
            pageInfo {hasNextPage hasPreviousPage startCursor endCursor}
          }
        }""",
        after=CURSOR,
    )
    [(filter, request)] = api.store.pages
    assert (filter.status, filter.kind, filter.title_contains) == (["PENDING", "FAILED"], [], "a%")
    assert request == PageRequest(limit=5, after=PLACE)
    assert data["tasks"]["nodes"] == [edge["node"] for edge in data["tasks"]["edges"]]
    assert data["tasks"]["pageInfo"] == {
        "hasNextPage": True,
        "hasPreviousPage": False,
        "startCursor": data["tasks"]["edges"][0]["cursor"],
        "endCursor": data["tasks"]["edges"][0]["cursor"],
    }


@pytest.mark.parametrize(
    ("given", "filter"),
    [
        ("{}", TaskFilter()),
        ("{priority: null, orderingKey: null, tags: null}", TaskFilter()),
        ("{priority: [], tags: []}", TaskFilter(priority=[], tags=[])),
        ("{priority: [HIGH, LOW]}", TaskFilter(priority=[TaskPriority.HIGH, TaskPriority.LOW])),
        (f'{{orderingKey: "{"ä" * 128}"}}', TaskFilter(ordering_key="ä" * 128)),
        (f'{{tags: ["a", "{"ä" * 64}"]}}', TaskFilter(tags=["a", "ä" * 64])),
        ('{tags: "a"}', TaskFilter(tags=["a"])),
    ],
)
async def test_filter_reaches_the_store_as_it_was_meant(given: str, filter: TaskFilter) -> None:
    api = StubApi()
    await api.data(f"{{tasks(filter: {given}) {{nodes {{id}}}}}}")
    assert api.store.pages[0][0] == filter


async def test_tasks_are_counted_once_and_only_for_who_wants_to_know() -> None:
    api = StubApi()
    await api.data("{tasks {nodes {id}}}")
    assert api.store.counts == []
    await api.data("{tasks {totalCount totalCountIsExact again: totalCount}}")
    assert api.store.counts == [10_001]


@pytest.mark.parametrize(
    ("matching", "shown"),
    [(9_999, (9_999, True)), (10_000, (10_000, True)), (10_001, (10_000, False)), (50_000, (10_000, False))],
)
async def test_count_is_exact_up_to_ten_thousand(matching: int, shown: tuple[int, bool]) -> None:
    api = StubApi()
    api.store.matching = matching
    tasks = (await api.data("{tasks {totalCount totalCountIsExact}}"))["tasks"]
    assert (tasks["totalCount"], tasks["totalCountIsExact"]) == shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('after: "nonsense"', "`after`"),
        ("first: 0", "`first`"),
        ("first: 1, last: 1", "`last`"),
        ('filter: {titleContains: ""}', "`filter.titleContains`"),
        (f'filter: {{titleContains: "{"x" * 256}"}}', "`filter.titleContains`"),
        (r'filter: {titleContains: "\u0000"}', "`filter.titleContains`"),
        (r'filter: {kind: ["a", "\u0000"]}', "`filter.kind`"),
        ('filter: {orderingKey: ""}', "`filter.orderingKey`"),
        (f'filter: {{orderingKey: "{"x" * 129}"}}', "`filter.orderingKey`"),
        (r'filter: {orderingKey: "\u0000"}', "`filter.orderingKey`"),
        ('filter: {tags: ["a", ""]}', "`filter.tags`"),
        (f'filter: {{tags: "{"x" * 65}"}}', "`filter.tags`"),
        (r'filter: {tags: ["a", "\u0000"]}', "`filter.tags`"),
        ('filter: {tags: ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11"]}', "`filter.tags`"),
        ("filter: {priority: URGENT}", "TaskPriority"),
        ('filter: {createdAfter: "2026-11-22T09:30:00"}', "time zone"),
        ('filter: {createdAfter: "2026-11-22"}', "time zone"),
        ('filter: {createdAfter: "yesterday"}', "ISO 8601"),
        ('filter: {createdAfter: "0001-01-01T00:00:00+14:00"}', "ISO 8601"),
        ("filter: {createdAfter: 1}", "2026-11-22T09:30:00Z"),
        ("first: 99999999999", "32-bit"),
        ("first: " + "9" * 5000, "can't be read"),
        ("first: 1e999", "Int"),
    ],
)
async def test_unusable_argument_is_bad_user_input_that_says_what_to_do(arguments: str, told: str) -> None:
    error = await StubApi().error(f"{{tasks({arguments}) {{nodes {{id}}}}}}")
    assert code(error) == "BAD_USER_INPUT"
    assert told in error["message"]
    assert error["locations"]


@pytest.mark.parametrize("field", ["titleContains", "kind", "orderingKey", "tags"])
async def test_lone_surrogate_in_a_variable_is_bad_user_input(field: str) -> None:
    error = await StubApi().error(
        "query ($filter: TaskFilter) {tasks(filter: $filter) {nodes {id}}}", filter={field: "\ud800"}
    )
    assert code(error) == "BAD_USER_INPUT"
