"""Everything at once, killed with -9 in the middle of its work."""

import asyncio
from pathlib import Path

import httpx

from tests.deployment import QUICK, free_port, poll
from tests.make_run import assert_gone, family, make_run

TASKS = 50
DEADLINE_SECONDS = 90.0


async def test_a_stack_killed_amid_50_tasks_finishes_them_after_its_next_start(tmp_path: Path) -> None:
    port = free_port()
    with make_run(tmp_path, port, QUICK) as run:
        ids = await asyncio.gather(*(create(port, number) for number in range(TASKS)))
        poll(lambda: count(port, "COMPLETED") > 0, DEADLINE_SECONDS)
        everything = family(run.supervisor)
        run.supervisor.kill()
        assert_gone(everything)
    with make_run(tmp_path, port, QUICK):
        assert count(port, "PENDING, PROCESSING, COMPLETED") == TASKS
        poll(lambda: count(port, "COMPLETED") == TASKS, DEADLINE_SECONDS)
    assert len(set(ids)) == TASKS


async def create(port: int, number: int) -> str:
    query = (
        f'mutation {{ createTask(input: {{title: "{number}", work: {{process: {{simulateSeconds: 1}}}}}}) '
        "{ task { id } } }"
    )
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(f"http://127.0.0.1:{port}/graphql", json={"query": query})
    return str(answer.json()["data"]["createTask"]["task"]["id"])


def count(port: int, statuses: str) -> int:
    """How many tasks are in any of the statuses, counted at one moment."""
    query = f"{{ tasks(filter: {{status: [{statuses}]}}) {{ totalCount }} }}"
    answer = httpx.post(f"http://127.0.0.1:{port}/graphql", json={"query": query}, timeout=30)
    return int(answer.json()["data"]["tasks"]["totalCount"])
