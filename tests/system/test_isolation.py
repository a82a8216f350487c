"""Only yours: whatever is asked, over whatever transport, the answer is the same as if nobody else were there.

The requests are made from the schema (tests/cases.py), with somebody else's ids, cursors, keys and words in
every place that takes any. What they answer has nothing of theirs in it, and does not change when all they
have is deleted: what is foreign is what is missing. The owner's own requests show that there was something
to be found.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from graphql import GraphQLObjectType, GraphQLSchema, build_client_schema, get_introspection_query

from gql.permissions import HIDDEN, RULES, WRITE
from taskql.devstack import DevStack
from tests.askers import Asker, askers
from tests.cases import Case, Cases, Known, selection
from tests.deployment import QUICK, Deployment
from tests.system.isolation_kinds import said
from tests.tokens import SECRET, token

SETTINGS = {
    **QUICK,
    "AUTH": "jwt",
    "JWT_SECRET": SECRET,
    "TASK_HANDLERS": "tests.system.isolation_kinds",
    "TASKQL_MAX_COMPLEXITY": "1000000",
    "TASKQL_MAX_ALIASES": "500",
}
WITHIN_SECONDS = 60
AT_A_TIME = 8
LARGE = 5_000
"""A result that PostgreSQL does not keep, in words of 16 characters."""

FAR = datetime.now(UTC) + timedelta(days=1000)
NEVER, LATER = FAR.isoformat(), (FAR + timedelta(days=1)).isoformat()

BOB = f"bob-{uuid4().hex[:12]}"
ALICE, CAROL, ROOT = "alice", "carol", "root"
ADMIN = "tasks:admin"

OF_NOBODY = {"Query.kinds"}
"""Has nothing of any owner's."""
IN_FIGURES = {"Query.queues", "Subscription.queues", "Mutation.redriveTasks", "Mutation.createWatchToken"}
"""What somebody has shows there, but none of it in words."""

Answers = dict[tuple[str, str], list[str]]
"""Each message, by the transport and the case."""

VARIES = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
)
"""Ids and moments."""


@dataclass
class World:
    """Bob's tasks, and what of them nobody else may ever see."""

    deployment: Deployment
    schema: GraphQLSchema
    bob: Mapping[str, Asker]
    root: Mapping[str, Asker]
    sent: dict[str, Any] = field(default_factory=dict)
    tasks: dict[str, Any] = field(default_factory=dict)
    letters: list[Any] = field(default_factory=list)
    words: set[str] = field(default_factory=set)

    @property
    def marks(self) -> set[str]:
        ids = {task["id"] for task in self.tasks.values()} | {letter["id"] for letter in self.letters}
        return {BOB} | self.words | ids

    def word(self, about: str) -> str:
        """A new one, that is to be found nowhere else."""
        made = f"{about}-{uuid4().hex[:12]}"
        self.words.add(made)
        return made

    async def make(self, name: str, end: str = "done", repeat: int = 1, **input: Any) -> None:
        """A task with a mark in every place."""
        word = self.word("input")
        self.words |= {said(about, word) for about in ("progress", "result", "failure")}
        wanted = {
            "title": self.word("title"),
            "description": self.word("description"),
            "work": {"mark": {"word": word, "end": end, "repeat": repeat}},
            "idempotencyKey": self.word("key"),
            "tags": [self.word("tag"), self.word("tag")],
            **input,
        }
        self.sent[name] = wanted
        made = await one(self.bob["HTTP"], CREATE, input=wanted)
        assert made["createTask"]["userErrors"] == []
        self.tasks[name] = made["createTask"]["task"]

    async def until(self, name: str, status: str) -> None:
        """Until the task is there, as its owner sees it."""
        query = f"query ($id: ID!) {{ task(id: $id) {self.all_of('Task')} }}"
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                found = (await one(self.bob["HTTP"], query, id=self.tasks[name]["id"]))["task"]
                if found["status"] == status and (status != "PROCESSING" or found["progress"]):
                    break
                await asyncio.sleep(0.05)
        self.tasks[name] = found

    def all_of(self, name: str) -> str:
        type_ = self.schema.type_map[name]
        assert isinstance(type_, GraphQLObjectType)
        return selection(self.schema, type_)

    def cases(self, hidden: Collection[str] = ()) -> list[Case]:
        tasks = list(self.tasks.values())
        ids = [task["id"] for task in tasks] + [letter["id"] for letter in self.letters]
        return list(Cases(self.schema, Known(tasks, ids, self.rules(), ALWAYS), hidden))

    def rules(self) -> dict[str, Sequence[Any]]:
        """Values that the schema and the tasks alone don't tell."""
        moments = [datetime.fromisoformat(task["createdAt"]) for task in self.tasks.values()]
        before, after = min(moments) - timedelta(seconds=1), datetime.now(UTC) + timedelta(days=1)
        keyed = {name: sent["idempotencyKey"] for name, sent in self.sent.items()}
        return {
            "TaskFilter.titleContains": [sent["title"] for sent in self.sent.values()],
            "TaskFilter.createdAfter": [before.isoformat()],
            "TaskFilter.createdBefore": [after.isoformat()],
            "TaskFilter.updatedAfter": [before.isoformat()],
            "TaskFilter.owner": [BOB],
            "Query.tasks.first": [100],
            "Query.tasks.last": [100],
            "Query.tasks.after": [self.cursor],
            "Query.tasks.before": [self.cursor],
            "Query.deadLetters.first": [100],
            "Query.deadLetters.after": [self.letters_cursor],
            "Subscription.taskStatus.afterVersion": [0],
            "Subscription.queues.everySeconds": [1],
            "CreateTaskInput": [self.sent["pending"]],
            "CreateTaskInput.idempotencyKey": [keyed["done"], keyed["failed"]],
            "CreateTaskInput.expiresAt": [LATER],
            "CreateTaskInput.runAt": [NEVER],
            "CreateWatchTokenInput.ttlSeconds": [60],
            "RedriveTasksInput.limit": [100],
            "RedriveTasksInput.dryRun": [True, False],
        }

    async def look_around(self) -> None:
        """Find bob's dead letters, and cursors in the middle of his listings."""
        query = f"{{ deadLetters {self.all_of('DeadLetterConnection')} }}"
        mine = {self.tasks[name]["id"] for name in ("failed", "failed too")}
        async with asyncio.timeout(WITHIN_SECONDS):
            while True:
                found = (await one(self.root["HTTP"], query))["deadLetters"]["edges"]
                if {edge["node"]["taskId"] for edge in found} == mine:
                    break
                await asyncio.sleep(0.05)
        self.letters = [edge["node"] for edge in found]
        self.letters_cursor = found[0]["cursor"]
        page = (await one(self.bob["HTTP"], "{ tasks { edges { cursor } } }"))["tasks"]["edges"]
        self.cursor = page[len(page) // 2]["cursor"]
        self.words |= {edge["cursor"] for edge in (*page, *found)}

    async def rows(self) -> list[Any]:
        """All that is bob's in PostgreSQL, less what running tasks do by themselves."""
        connection = await self.deployment.connect()
        try:
            return [
                *await connection.fetch("SELECT * FROM tasks WHERE owner = $1 ORDER BY id", BOB),
                *await connection.fetch("SELECT * FROM task_tags WHERE owner = $1 ORDER BY task_id, tag", BOB),
                *await connection.fetch("SELECT * FROM dead_letters ORDER BY id"),
                *await connection.fetch(
                    "SELECT task_id, queue, attempt, blocked, ordering_group, ordering_number, available_at "
                    "FROM dispatch d JOIN tasks t ON t.id = d.task_id WHERE t.owner = $1 ORDER BY 1",
                    BOB,
                ),
            ]
        finally:
            await connection.close()

    async def touch(self, *owners: str) -> None:
        """Let all that they have change, one owner after another, and no event tell of it."""
        await self._perform(
            *(
                "UPDATE tasks SET version = version + 1, updated_at = clock_timestamp(), "
                "finished_at = CASE WHEN outcome IS NOT NULL THEN clock_timestamp() END "
                f"WHERE owner = '{owner}'"
                for owner in owners
            )
        )

    async def vanish(self) -> None:
        """Let there be nothing of anybody's."""
        await self._perform(
            *(f"DELETE FROM {table}" for table in ("tasks", "dispatch", "dead_letters", "orderings"))
        )

    async def _perform(self, *statements: str) -> None:
        connection = await self.deployment.connect()
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    def fields(self, name: str) -> Mapping[str, Any]:
        type_ = self.schema.type_map[name]
        assert isinstance(type_, GraphQLObjectType)
        return type_.fields


CREATE = "mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } userErrors { message } } }"
ALWAYS = {"CreateTaskInput": {"runAt": NEVER}}
"""What others create stays as it is, so that what they are answered does not depend on when they ask."""


async def one(asker: Asker, query: str, **variables: Any) -> Any:
    """The data that HTTP answers."""
    [text] = [text async for text in asker.answers(query, variables)]
    body = json.loads(text.partition(" ")[2])
    assert "errors" not in body, body
    return body["data"]


@asynccontextmanager
async def as_owner(deployment: Deployment, owner: str, scope: str | None = None) -> AsyncIterator[dict[str, Asker]]:
    bearer = token(sub=owner) if scope is None else token(sub=owner, scope=scope)
    async with askers(deployment, bearer) as found:
        yield found


# ---------------------------------------------------------------- what everybody asks, and is answered


@pytest.fixture(scope="module")
async def deployment(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with Deployment(stack, tmp_path_factory.mktemp("isolation"), SETTINGS) as deployment:
        deployment.launch("consumer")
        deployment.start_api()
        yield deployment


@pytest.fixture(scope="module")
async def world(deployment: Deployment) -> AsyncIterator[World]:
    """With tasks of bob's in every status."""
    async with as_owner(deployment, BOB) as bob, as_owner(deployment, ROOT, ADMIN) as root:
        schema = build_client_schema(await one(bob["HTTP"], get_introspection_query()))
        world = World(deployment, schema, bob, root)
        order = world.word("order")
        await world.make("pending", priority="HIGH", runAt=NEVER, expiresAt=LATER)
        await world.make("processing", end="never", orderingKey=order)
        await world.make("behind", orderingKey=order)
        await world.make("done")
        await world.make("failed", end="failed")
        await world.make("failed too", end="failed")
        await world.make("cancelled", runAt=NEVER)
        statuses = {
            "pending": "PENDING",
            "processing": "PROCESSING",
            "behind": "PENDING",
            "done": "COMPLETED",
            "failed": "FAILED",
            "failed too": "FAILED",
            "cancelled": "CANCELLED",
        }
        if "resultUrl" in world.fields("Task"):
            await world.make("large", repeat=LARGE)
            statuses["large"] = "COMPLETED"
        cancel = "mutation ($id: ID!) { cancelTask(input: {id: $id}) { task { status } } }"
        await one(bob["HTTP"], cancel, id=world.tasks["cancelled"]["id"])
        await asyncio.gather(*(world.until(name, status) for name, status in statuses.items()))
        await world.look_around()
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


@asynccontextmanager
async def alices(deployment: Deployment) -> AsyncIterator[dict[str, Asker]]:
    """One who has nothing, on each transport."""
    async with AsyncExitStack() as stack:
        found = {}
        for name in ("HTTP", "events", "socket"):
            found[name] = (await stack.enter_async_context(as_owner(deployment, f"{ALICE} by {name}")))[name]
        yield found


class Streams:
    """Subscriptions over every transport, and what they have told so far."""

    def __init__(self, named: Mapping[str, Asker], cases: Iterable[Case]) -> None:
        self.told: Answers = {}
        self.ended: set[tuple[str, str]] = set()
        self._news = asyncio.Condition()
        streamed = [name for name in named if name != "HTTP"]
        self._reading = [
            asyncio.create_task(self._read(name, named[name], case)) for case in cases for name in streamed
        ]

    async def _read(self, name: str, asker: Asker, case: Case) -> None:
        told = self.told[name, str(case)] = []
        async for text in asker.answers(case.document, case.variables):
            async with self._news:
                told.append(text)
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

    async def close(self) -> None:
        for reading in self._reading:
            reading.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)


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
    carol: Streams
    carol_alone: Streams
    bobs: Streams
    rows: tuple[list[Any], list[Any]]


@pytest.fixture(scope="module")
async def observed(world: World) -> AsyncIterator[Observed]:
    cases = world.cases()
    asked, changing, watched = (
        [case for case in cases if case.operation == each] for each in ("Query", "Mutation", "Subscription")
    )
    updates = [case for case in watched if case.about == "Subscription.taskUpdates"]
    mine = [case for case in updates if not case.variables]
    async with as_owner(world.deployment, CAROL) as others, alices(world.deployment) as alice:
        carols = (await one(others["HTTP"], CREATE, input={"title": "mine", "runAt": NEVER}))["createTask"]["task"]["id"]
        carol, bobs = Streams(others, watched), Streams(world.bob, watched)
        bob, root = await asyncio.gather(ask_all(world.bob, asked), ask_all(world.root, asked))
        await world.touch(BOB, CAROL)

        before = await world.rows()
        answers = await ask_all(alice, [*asked, *watched_briefly(watched)])
        answers |= await ask_each(alice, changing)
        after = await world.rows()

        while not await bobs.until_each_has(world.words, updates):
            await world.touch(BOB, CAROL)
        bob |= await ask_each({"HTTP": world.bob["HTTP"]}, changing)
        await world.touch(CAROL)
        assert await carol.until_each_has([carols], mine)
        await asyncio.gather(carol.close(), bobs.close())

        await world.vanish()
        alone = await ask_all(alice, asked)
        alone |= await ask_each(alice, changing)
    yield Observed(cases, answers, alone, bob, root, carol, carol, bobs, (before, after))
