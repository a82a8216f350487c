"""How many may be connected and have something open; and that every place is given back, however it ends."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from gql.admission import Admission
from gql.limits import Limits
from gql.serving import config_of
from taskql.limits import MEBIBYTE
from taskql.settings import Settings
from tests.unit.endpoint import Endpoint
from tests.unit.peer import Peer, socket, stream
from tests.unit.stage import COMPLETED, OWNER, event, staged, task_at, until
from tests.unit.stub_api import viewer

TASK = task_at(1)
WATCH = f'subscription {{taskStatus(id: "{TASK.id}") {{version}}}}'
BY_THE_SCHEMA = (
    f'subscription {{...F}} fragment F on Subscription {{taskStatus(id: "{TASK.id}") {{version}}}}'
)
"""The same, but not by the hub's shared texts."""
WAYS = {"by the hub": WATCH, "by the schema": BY_THE_SCHEMA}
OPERATIONS = WAYS | {"a query": "{kinds {name}}", "an error": "{nothing}", "no document": "{"}
ADDRESS, OTHER = "192.0.2.1", "192.0.2.2"


@asynccontextmanager
async def opened(**limits: int) -> AsyncIterator[Endpoint]:
    """At the end, nobody has a place."""
    async with staged(TASK) as stage:
        endpoint = Endpoint(hub=stage.hub, limits=Limits(**limits))  # type: ignore[arg-type]
        endpoint.api.context = replace(endpoint.api.context, hub=stage.hub, viewer=viewer(OWNER))
        yield endpoint
        admission = endpoint.view.admission
        await until(lambda: admission.connections == 0)
        assert admission.addresses.taken == {}
        assert admission.owners.taken == {}


def refusal(peer: Peer) -> tuple[int, str]:
    [error] = peer.errors
    return peer.status, error["extensions"]["code"]


async def test_a_connection_too_many_is_refused_before_it_opens() -> None:
    async with opened(connections=2) as endpoint, AsyncExitStack() as stack:
        await stack.enter_async_context(socket(endpoint.app, ADDRESS))
        await stack.enter_async_context(stream(endpoint.app, WATCH, OTHER))
        async with socket(endpoint.app) as late, stream(endpoint.app, WATCH) as later:
            assert late.received[0]["type"] == "websocket.http.response.start"
            assert refusal(late) == refusal(later) == (503, "UNAVAILABLE")
        assert endpoint.view.admission.connections == 2


async def test_one_address_has_so_many_connections_and_others_have_theirs() -> None:
    async with opened(connections_per_address=1) as endpoint, socket(endpoint.app, ADDRESS):
        async with socket(endpoint.app, ADDRESS) as late, stream(endpoint.app, WATCH, ADDRESS) as later:
            assert refusal(late) == refusal(later) == (429, "RATE_LIMITED")
        async with socket(endpoint.app, OTHER) as other:
            assert other.received[0]["type"] == "websocket.accept"


async def test_a_place_is_free_again_once_its_connection_is_gone() -> None:
    async with opened(connections=1, subscriptions_per_owner=1) as endpoint:
        for _ in range(3):
            async with socket(endpoint.app) as peer:
                peer.subscribe("1", WATCH)
                assert (await peer.answer_to("1"))["data"]
            async with stream(endpoint.app, WATCH) as peer:
                assert peer.status == 200


@pytest.mark.parametrize("query", WAYS.values(), ids=WAYS.keys())
async def test_an_owner_has_so_many_operations_open_wherever_they_are(query: str) -> None:
    async with (
        opened(subscriptions_per_owner=3) as endpoint,
        socket(endpoint.app) as one,
        socket(endpoint.app) as other,
        stream(endpoint.app, query),
    ):
        for peer in (one, other):
            peer.subscribe("1", query)
            assert (await peer.answer_to("1"))["data"]
        one.subscribe("2", query)
        [error] = await one.answer_to("2")
        assert error["extensions"]["code"] == "RATE_LIMITED"
        async with stream(endpoint.app, query) as late:
            assert refusal(late) == (429, "RATE_LIMITED")
        assert endpoint.view.admission.owners.taken == {OWNER: 3}


@pytest.mark.parametrize("query", OPERATIONS.values(), ids=OPERATIONS.keys())
async def test_an_operation_that_ends_gives_its_place_back(query: str) -> None:
    async with opened(subscriptions_per_owner=1) as endpoint, socket(endpoint.app) as peer:
        for number in map(str, range(3)):
            peer.subscribe(number, query)
            await peer.answer_to(number)
            peer.say(id=number, type="complete")
        await until(lambda: endpoint.view.admission.owners.taken == {})


@pytest.mark.parametrize("query", WAYS.values(), ids=WAYS.keys())
async def test_a_task_that_ends_gives_its_watchers_places_back(query: str) -> None:
    async with staged(TASK) as stage:
        endpoint = Endpoint(hub=stage.hub)
        endpoint.api.context = replace(endpoint.api.context, hub=stage.hub, viewer=viewer(OWNER))
        async with socket(endpoint.app) as peer:
            peer.subscribe("1", query)
            await peer.answer_to("1")
            assert endpoint.view.admission.owners.taken == {OWNER: 1}
            await stage.source.send(event(TASK, 2, COMPLETED))
            await until(lambda: endpoint.view.admission.owners.taken == {})


async def test_an_id_that_is_taken_closes_the_socket_and_takes_no_place() -> None:
    async with opened() as endpoint, socket(endpoint.app) as peer:
        peer.subscribe("1", WATCH)
        peer.subscribe("1", WATCH)
        await until(lambda: peer.received[-1]["type"] == "websocket.close")
        assert endpoint.view.admission.owners.taken == {OWNER: 1}


@pytest.mark.parametrize(("named", "believed"), [(None, False), ("10.0.0.0/8", True)])
def test_only_a_proxy_that_is_named_is_believed_about_addresses(named: str | None, believed: bool) -> None:
    settings = Settings.model_construct(
        host="127.0.0.1",
        port=8000,
        log_level="info",
        taskql_max_request_bytes=MEBIBYTE,
        taskql_trusted_proxies=named,
    )
    config = config_of(None, settings)
    assert config.proxy_headers is believed
    assert config.forwarded_allow_ips == named or not believed


def test_a_refused_connection_leaves_no_trace() -> None:
    admission = Admission(Limits(connections_per_address=1, connections=2))
    assert admission.connect(ADDRESS) is None
    assert admission.connect(ADDRESS) is not None
    assert admission.connect(OTHER) is None
    assert admission.connect("192.0.2.3") is not None
    assert (admission.connections, admission.addresses.taken) == (2, {ADDRESS: 1, OTHER: 1})
