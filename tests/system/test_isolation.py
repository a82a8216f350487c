"""Only yours: whatever is asked, over whatever transport, the answer is the same as if alone.

The requests are made from the schema (tests/cases.py), with somebody else's ids, cursors, keys and words in
every place that takes any. What they answer has nothing of theirs in it, and does not change when all they
have is deleted: what is foreign is what is missing. The owner's own requests show that there was something
to be found.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self
from uuid import uuid4

import pytest

from gql.permissions import HIDDEN, RULES, WATCHING
from gql.viewer import Scope
from taskql.devstack import DevStack
from tests.askers import Asker, askers
from tests.cases import Case
from tests.deployment import QUICK, Deployment
from tests.system.isolation_kinds import said
from tests.system.isolation_world import BOB, CREATE, NEVER, WITHIN_SECONDS, World, as_owner, bobs_world, one
from tests.tokens import SECRET

SETTINGS = {
    **QUICK,
    "AUTH": "jwt",
    "JWT_SECRET": SECRET,
    "TASKQL_VISIBILITY_SECONDS": "60",  # what runs shall not be lost, however slow the machine
    "TASK_HANDLERS": "tests.system.isolation_kinds",
    "TASKQL_MAX_COMPLEXITY": "1000000",
    "TASKQL_MAX_ALIASES": "500",
}
AT_A_TIME = 8
LOOK_SECONDS = 6
"""A little longer than a feed takes to find what no event told of."""
TRANSPORTS = ("HTTP", "events", "socket")


OF_NOBODY = {"Query.kinds"}
"""Has nothing of any owner's."""
IN_FIGURES = {
    "Query.queues",
    "Subscription.queues",
    "Mutation.redriveTasks",
    "Mutation.createWatchToken",
    "Mutation.deleteTask",
}
"""Show what somebody has, but no word of it beyond what was sent."""

Answers = dict[tuple[str, str], list[str]]
"""Each message, by the transport and the case."""

VARIES = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
)
"""Ids and moments."""


# ---------------------------------------------------------------- what everybody asks, and is answered


@pytest.fixture(scope="module")
async def deployment(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with Deployment(stack, tmp_path_factory.mktemp("isolation"), SETTINGS) as deployment:
        deployment.launch("consumer")
        deployment.start_api()
        yield deployment


@pytest.fixture(scope="module")
async def world(deployment: Deployment) -> AsyncIterator[World]:
    async with bobs_world(deployment) as world:
        yield world


async def ask(asker: Asker, case: Case) -> list[str]:
    async with asyncio.timeout(WITHIN_SECONDS):
        return [text async for text in asker.answers(case.document, case.variables)]


async def ask_all(named: Mapping[str, Asker], cases: Iterable[Case]) -> Answers:
    """Several at a time: none of them changes anything."""
    turns = asyncio.Semaphore(AT_A_TIME)

    async def in_turn(transport: str, case: Case) -> tuple[tuple[str, str], list[str]]:
        async with turns:
            return (transport, str(case)), await ask(named[transport], case)

    return dict(await asyncio.gather(*(in_turn(transport, case) for case in cases for transport in named)))


async def ask_each(named: Mapping[str, Asker], cases: Iterable[Case]) -> Answers:
    """One after another over each transport: what is asked may change what is answered next."""
    cases = list(cases)

    async def over(transport: str) -> Answers:
        return {(transport, str(case)): await ask(named[transport], case) for case in cases}

    found: Answers = {}
    for answers in await asyncio.gather(*map(over, named)):
        found |= answers
    return found


# ---------------------------------------------------------------- scopes, watch tokens, administrators


@pytest.mark.parametrize("scope", ["", Scope.READ, Scope.WRITE])
async def test_own_tasks_are_out_of_reach_without_the_scope(world: World, scope: str) -> None:
    cases = [case for case in world.cases() if RULES[case.about] and scope not in RULES[case.about]]
    assert {case.operation for case in cases} >= {"Query", "Subscription"}
    rows = await world.rows()
    async with as_owner(world.deployment, BOB, scope) as named:
        for case, told in await ask_streams_too(named, cases):
            assert code(told) == "FORBIDDEN", (case, told)
            assert not world.secrets_in(told, case)
    assert await world.rows() == rows


async def test_watch_token_reaches_its_one_task_less_what_is_hidden(world: World) -> None:
    done = {name: value for name, value in world.tasks["done"].items() if f"Task.{name}" not in HIDDEN}
    make = "mutation ($id: ID!) { createWatchToken(input: {id: $id}) { token } }"
    bearer = (await one(world.bob["HTTP"], make, id=done["id"]))["createWatchToken"]["token"]
    rows = await world.rows()
    async with askers(world.deployment, bearer) as named:
        for case, told in await ask_streams_too(named, world.cases()):
            assert code(told) == "FORBIDDEN", (case, told)
            assert not world.secrets_in(told, case)
        shown = [case for case in world.cases(HIDDEN) if case.about == WATCHING]
        [document] = {case.document for case in shown}
        missing = Case(WATCHING, document, {"id": str(uuid4())})
        found, foreign = set(), set()
        for case, told in await ask_streams_too(named, [*shown, missing]):
            assert not [word for word in world.secrets_in(told, case) if word not in str(done)]
            if case.variables["id"] == done["id"]:
                found.add(said("result", world.sent["done"]["work"]["mark"]["word"]) in told)
            else:
                foreign.add(VARIES.sub("…", told))
    assert found == {True}
    assert len(foreign) == 2  # one for each transport
    assert await world.rows() == rows


async def test_administrator_sees_everybody_s_and_by_owner_whose_are_asked_for(world: World) -> None:
    query = "query ($filter: TaskFilter) { tasks(filter: $filter, first: 100) { totalCount nodes { id } } }"

    async def ids(owner: str | None) -> set[str]:
        filter = None if owner is None else {"owner": owner}
        page = (await one(world.root["HTTP"], query, filter=filter))["tasks"]
        assert page["totalCount"] == len(page["nodes"])
        return {node["id"] for node in page["nodes"]}

    async with as_owner(world.deployment, "erin") as named:
        hers = await task_of(named)
        bobs = {task["id"] for task in world.tasks.values()}
        assert (await ids(BOB), await ids("erin"), await ids("nobody")) == (bobs, {hers}, set())
        assert await ids(None) >= {hers, *bobs}


async def test_ordering_key_orders_its_owner_s_tasks_alone(world: World) -> None:
    key = world.sent["behind"]["orderingKey"]
    async with as_owner(world.deployment, "dora") as named:
        made = await one(named["HTTP"], CREATE, input={"title": "mine", "orderingKey": key})
        query, task_id = "query ($id: ID!) { task(id: $id) { status } }", made["createTask"]["task"]["id"]
        async with asyncio.timeout(WITHIN_SECONDS):
            while (await one(named["HTTP"], query, id=task_id))["task"]["status"] != "COMPLETED":
                await asyncio.sleep(0.05)
    behind = await one(world.bob["HTTP"], query, id=world.tasks["behind"]["id"])
    assert behind["task"]["status"] == "PENDING"


async def ask_streams_too(named: Mapping[str, Asker], cases: Iterable[Case]) -> list[tuple[Case, str]]:
    """What is answered over each transport that fits, put together: none of it goes on by itself."""
    asked = list(cases)
    brief = await ask_all(named, (case for case in asked if case.operation != "Subscription"))
    streamed = {name: asker for name, asker in named.items() if name != "HTTP"}
    brief |= await ask_all(streamed, (case for case in asked if case.operation == "Subscription"))
    by_name = {str(case): case for case in asked}
    return [(by_name[case], "".join(told)) for (_, case), told in brief.items()]


def code(told: str) -> str | None:
    """The first of an error."""
    found = re.search(r'"code": ?"(\w+)"', told)
    return found and found[1]


# ---------------------------------------------------------------- with bob, and without


@asynccontextmanager
async def alices(deployment: Deployment) -> AsyncIterator[dict[str, Asker]]:
    """One who has nothing, on each transport."""
    async with AsyncExitStack() as stack:
        found = {}
        for name in TRANSPORTS:
            found[name] = (await stack.enter_async_context(as_owner(deployment, f"alice by {name}")))[name]
        yield found


class Streams:
    """Subscriptions over every transport, and what they have told so far."""

    def __init__(self, named: Mapping[str, Asker], cases: Iterable[Case]) -> None:
        streamed = [(name, case) for case in cases for name in named if name != "HTTP"]
        self.told: Answers = {(name, str(case)): [] for name, case in streamed}
        self.ended: set[tuple[str, str]] = set()
        self._news = asyncio.Condition()
        self._reading = [asyncio.create_task(self._read(name, named[name], case)) for name, case in streamed]

    async def _read(self, name: str, asker: Asker, case: Case) -> None:
        async for text in asker.answers(case.document, case.variables):
            async with self._news:
                self.told[name, str(case)].append(text)
                self._news.notify_all()
        self.ended.add((name, str(case)))

    async def until_each_has(self, found: Iterable[str], about: Iterable[Case]) -> bool:
        """Whether all of these are told one of the words before long."""
        words, wanted = set(found), {str(case) for case in about}
        try:
            async with asyncio.timeout(LOOK_SECONDS), self._news:
                await self._news.wait_for(
                    lambda: all(
                        has_any("".join(told), words)
                        for (_, case), told in self.told.items()
                        if case in wanted
                    )
                )
        except TimeoutError:
            return False
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for reading in self._reading:
            reading.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)

    async def until_ended(self) -> None:
        async with asyncio.timeout(WITHIN_SECONDS):
            await asyncio.gather(*self._reading)


def has_any(text: str, words: Iterable[str]) -> bool:
    return any(word in text for word in words)


@dataclass
class Observed:
    """What everybody was answered, and bob's rows before and after."""

    cases: list[Case]
    alice: Answers
    alone: Answers
    bob: Answers
    root: Answers
    carol: Answers
    rows: list[Any]
    rows_after: list[Any]


@pytest.fixture(scope="module")
async def observed(world: World) -> Observed:
    """Bob asks what changes nothing, the others ask everything, bob changes all; and again, without bob."""
    cases = world.cases()
    asked, changing, watched = (
        [case for case in cases if case.operation == each] for each in ("Query", "Mutation", "Subscription")
    )
    updates = [case for case in watched if case.about == "Subscription.taskUpdates"]
    all_mine = [case for case in updates if not case.variables]
    async with AsyncExitStack() as stack:
        others = await stack.enter_async_context(as_owner(world.deployment, "carol"))
        alice = await stack.enter_async_context(alices(world.deployment))
        first = await task_of(others)
        carol = await stack.enter_async_context(Streams(others, watched))
        bobs = await stack.enter_async_context(Streams(world.bob, watched))
        roots = await stack.enter_async_context(Streams(world.root, for_operators(watched)))

        bob, root = await ask_all(world.bob, asked), await ask_all(world.root, for_operators(asked))
        await world.touch(BOB, "carol")
        rows = await world.rows()
        answers = await everything(alice, asked, changing, watched)
        rows_after = await world.rows()
        async with asyncio.timeout(WITHIN_SECONDS):
            while rows == rows_after and not (
                await bobs.until_each_has(world.words, updates)
                and await carol.until_each_has([first], all_mine)
            ):
                await world.touch(BOB, "carol")
        bob |= await ask_each({"HTTP": world.bob["HTTP"]}, changing)
        assert await carol.until_each_has([await task_of(others)], all_mine)
        answers |= {key: carol.told[key] for key in carol.ended}
        await world.vanish()
        alone = await everything(alice, asked, changing, watched)
        ended = {case for _, case in carol.ended}
        again = await stack.enter_async_context(
            Streams(others, [case for case in watched if str(case) in ended])
        )
        await again.until_ended()
        alone |= again.told
    return Observed(cases, answers, alone, bob | bobs.told, root | roots.told, carol.told, rows, rows_after)


def for_operators(cases: Iterable[Case]) -> list[Case]:
    return [case for case in cases if RULES[case.about] == (Scope.ADMIN,)]


async def everything(
    named: Mapping[str, Asker], asked: list[Case], changing: list[Case], watched: list[Case]
) -> Answers:
    """What is answered to all of it; of what goes on by itself, what HTTP has to say."""
    answers = await ask_all(named, asked) | await ask_all({"HTTP": named["HTTP"]}, watched)
    return answers | await ask_each(named, changing)


async def task_of(named: Mapping[str, Asker]) -> str:
    """A new task of theirs, which nothing runs."""
    made = await one(named["HTTP"], CREATE, input={"title": "mine", "runAt": NEVER})
    return str(made["createTask"]["task"]["id"])


# ---------------------------------------------------------------- what that comes to


def test_nobody_is_told_anything_of_somebody_else_s(world: World, observed: Observed) -> None:
    for case in observed.cases:
        for answers in (observed.alice, observed.carol):
            for transport in TRANSPORTS:
                told = "".join(answers.get((transport, str(case)), ()))
                assert not world.secrets_in(told, case), (transport, case, told)


def test_what_is_foreign_is_answered_like_what_is_missing(observed: Observed) -> None:
    assert observed.alice.keys() == observed.alone.keys()
    for (transport, case), told in observed.alice.items():
        assert less_what_varies(told) == less_what_varies(observed.alone[transport, case]), (transport, case)


def test_nobody_changes_anything_of_somebody_else_s(observed: Observed) -> None:
    assert observed.rows == observed.rows_after


def test_owner_or_administrator_finds_it_by_the_same_requests(world: World, observed: Observed) -> None:
    found: dict[tuple[str, ...], bool] = {}
    for case in observed.cases:
        place = (case.about,) if case.operation == "Mutation" else (case.about, *places(case.variables))
        for transport in TRANSPORTS:
            key = transport, str(case)
            for answers in (observed.bob, observed.root):
                if answer := answers.get(key):
                    foreign = observed.alice.get(key) or observed.carol[key]
                    differs = less_what_varies(answer) != less_what_varies(foreign)
                    shows = case.about in IN_FIGURES or bool(world.secrets_in("".join(answer), case))
                    found[transport, *place] = found.get((transport, *place), False) or (differs and shows)
    assert world.tasks["large"]["resultUrl"]
    told = str(observed.bob)
    for name, about in {"processing": "progress", "done": "result", "failed": "failure"}.items():
        assert said(about, world.sent[name]["work"]["mark"]["word"]) in told
    assert {about for _, about, *_ in found} == {case.about for case in observed.cases} == set(RULES)
    assert not [place for place, shows in found.items() if not shows and place[1] not in OF_NOBODY]


def less_what_varies(told: Sequence[str]) -> list[str]:
    return [VARIES.sub("…", text) for text in told]


def places(value: Any) -> Iterator[str]:
    """The names of the arguments and of the input fields in them."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield name
            yield from places(inner)
