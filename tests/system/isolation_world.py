"""Bob, whose tasks `test_isolation` has others ask for: in every status, with its own word in every place."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from graphql import GraphQLObjectType, GraphQLSchema, build_client_schema, get_introspection_query

from gql.viewer import Scope
from tests.askers import Asker, askers
from tests.cases import Case, Cases, Known, selection
from tests.deployment import Deployment
from tests.system.isolation_kinds import said
from tests.tokens import token

WITHIN_SECONDS = 60
BOB = f"bob-{uuid4().hex[:12]}"
LARGE = 5_000
"""A result that PostgreSQL does not keep, in words of 16 characters."""

FAR = datetime.now(UTC) + timedelta(days=1000)
NEVER, LATER = FAR.isoformat(), (FAR + timedelta(days=1)).isoformat()

CREATE = (
    "mutation ($input: CreateTaskInput!) { createTask(input: $input) { task { id } userErrors { message } } }"
)
ALWAYS = {"CreateTaskInput": {"runAt": NEVER}}
"""What others create stays as it is, so that what they are answered does not depend on when they ask."""
CANCEL = "mutation ($id: ID!) { cancelTask(input: {id: $id}) { task { status } } }"
STATUSES = {
    "pending": "PENDING",
    "processing": "PROCESSING",
    "behind": "PENDING",
    "done": "COMPLETED",
    "large": "COMPLETED",
    "failed": "FAILED",
    "failed too": "FAILED",
    "cancelled": "CANCELLED",
}
"""Of bob's tasks by their names here."""

HIS = (
    "SELECT * FROM tasks WHERE owner = $1 ORDER BY id",
    "SELECT * FROM task_tags WHERE owner = $1 ORDER BY task_id, tag",
    "SELECT id, task_id, attempt, body, at FROM dead_letters WHERE owner = $1 ORDER BY id",
    "SELECT task_id, queue, d.attempt, blocked, ordering_group, d.ordering_number, available_at "
    "FROM dispatch d JOIN tasks t ON t.id = d.task_id WHERE t.owner = $1 ORDER BY task_id",
)
WITHOUT_TRIGGERS = "SET session_replication_role = replica"
"""Else none may change and stay in its status."""


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

    def secrets_in(self, told: str, case: Case) -> list[str]:
        """The words in an answer that were not in the request."""
        return [word for word in self.marks if word in told and word not in str(case.variables)]

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
            "TaskFilter.titleContains": [self.sent["failed"]["title"]],
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
        """All that is bob's in PostgreSQL, less what TaskQL does by itself meanwhile."""
        connection = await self.deployment.connect()
        try:
            return [row for query in HIS for row in await connection.fetch(query, BOB)]
        finally:
            await connection.close()

    async def touch(self, *owners: str) -> None:
        """Let all that they have change, one owner after another, and no event tell of it."""
        await self._perform(
            WITHOUT_TRIGGERS,
            "UPDATE dispatch SET returned_at = clock_timestamp()",
            *(
                "UPDATE tasks SET version = version + 1, updated_at = clock_timestamp(), "
                "finished_at = CASE WHEN outcome IS NOT NULL THEN clock_timestamp() END "
                f"WHERE owner = '{owner}'"
                for owner in owners
            ),
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


@asynccontextmanager
async def bobs_world(deployment: Deployment) -> AsyncIterator[World]:
    """With tasks of bob's in every status."""
    async with as_owner(deployment, BOB) as bob, as_owner(deployment, "root", Scope.ADMIN) as root:
        schema = build_client_schema(await one(bob["HTTP"], get_introspection_query(one_of=True)))
        world = World(deployment, schema, bob, root)
        order = world.word("order")
        await world.make("failed", end="failed")
        await world.make("pending", priority="HIGH", runAt=NEVER, expiresAt=LATER)
        await world.make("processing", end="never", orderingKey=order)
        await world.make("behind", orderingKey=order)
        await world.make("done")
        await world.make("failed too", end="failed")
        await world.make("cancelled", runAt=NEVER)
        await world.make("large", repeat=LARGE)
        await one(bob["HTTP"], CANCEL, id=world.tasks["cancelled"]["id"])
        await asyncio.gather(*(world.until(name, STATUSES[name]) for name in world.tasks))
        await world.look_around()
        yield world


async def one(asker: Asker, query: str, **variables: Any) -> Any:
    """The data that HTTP answers."""
    [text] = [text async for text in asker.answers(query, variables)]
    body = json.loads(text.partition(" ")[2])
    assert "errors" not in body, body
    return body["data"]


@asynccontextmanager
async def as_owner(
    deployment: Deployment, owner: str, scope: str | None = None
) -> AsyncIterator[dict[str, Asker]]:
    bearer = token(sub=owner) if scope is None else token(sub=owner, scope=scope)
    async with askers(deployment, bearer) as found:
        yield found
