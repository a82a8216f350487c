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
LARGE = 100_000
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

    async def sql(self, *statements: str) -> None:
        connection = await self.deployment.connect()
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


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


@pytest.fixture(scope="module")
async def deployment(stack: DevStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with Deployment(stack, tmp_path_factory.mktemp("isolation"), SETTINGS) as deployment:
        api, consumer = deployment.launch("gql"), deployment.launch("consumer")
        del api, consumer
        deployment.processes.clear()
        deployment.start_api()
        deployment.start_consumers()
        yield deployment
