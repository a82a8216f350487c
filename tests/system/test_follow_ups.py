"""A chain of tasks, each created by the one before: in the worker, in a process of its own, in the worker."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from taskql.devstack import DevStack
from tests.deployment import QUICK, Deployment
from tests.subscriber import subscriber

HANDLERS = '''
from collections.abc import AsyncIterator

from pydantic import BaseModel

from taskql import TaskContext, handler, lifespan


class Pool:
    """What is opened once per worker."""

    uses = 0


class Links(BaseModel):
    left: int


class Link(BaseModel):
    uses: int
    token: str
    next: str | None


@lifespan
async def pool() -> AsyncIterator[Pool]:
    opened = Pool()
    yield opened
    print(f"the pool was used {opened.uses} times", flush=True)


@handler("link")
async def link(work: Links, task: TaskContext) -> Link:
    return perform(work, task, link_apart)


@handler("linkApart", process=True)
def link_apart(work: Links, task: TaskContext) -> Link:
    return perform(work, task, link)


def perform(work: Links, task: TaskContext, following) -> Link:
    task.resource(Pool).uses += 1
    task.log.warning("linked")
    if work.left == 0:
        return Link(uses=task.resource(Pool).uses, token=task.idempotency_token, next=None)
    left = Links(left=work.left - 1)
    title = f"{left.left} left"
    task_id = task.create_task(following, left, title=title, tags=["linked"], ordering_key="chain")
    return Link(uses=task.resource(Pool).uses, token=task.idempotency_token, next=str(task_id))
'''

FIELDS = """title tags orderingKey attempt
    result { ... on LinkResult { uses token next } ... on LinkApartResult { uses token next } }"""


@pytest.fixture
async def chained(stack: DevStack, tmp_path: Path) -> AsyncIterator[Deployment]:
    (tmp_path / "chained.py").write_text(HANDLERS)
    settings = {**QUICK, "TASK_HANDLERS": "chained", "PYTHONPATH": str(tmp_path)}
    async with Deployment(stack, tmp_path, settings) as deployment:
        deployment.start_api()
        yield deployment


async def test_each_task_creates_the_next_and_shares_what_its_worker_has_opened(chained: Deployment) -> None:
    [consumer] = chained.start_consumers()
    first = await chained.create_id("3 left", work={"link": {"left": 3}})
    task_id: str | None = first
    seen = []
    async with subscriber(chained.ws_url) as watcher:
        while task_id is not None:
            assert (await watcher.states(task_id))[-1]["status"] == "COMPLETED"
            task = await chained.task(task_id, FIELDS)
            assert task["result"].pop("token") == task_id
            task_id = task["result"].pop("next")
            seen.append((task["title"], task["tags"], task["orderingKey"], task["result"]["uses"]))
    assert seen == [
        ("3 left", [], None, 1),
        ("2 left", ["linked"], "chain", 1),
        ("1 left", ["linked"], "chain", 2),
        ("0 left", ["linked"], "chain", 1),
    ]
    assert consumer.stop() == 0
    assert f"WARNING task.link: linked [task {first}, attempt 1]" in consumer.said
    assert consumer.said.count("the pool was used 1 times") == 2, "by each child's call"
    assert consumer.said.count("the pool was used 2 times") == 1, "by the worker"
    assert all("pool" not in process.said for process in chained.processes if process is not consumer)
