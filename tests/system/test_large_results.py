"""A result that is too large for PostgreSQL, from the handler to those who want it, and to its end."""

import json
from typing import Any

import httpx
import pytest

from tests.deployment import Deployment, aws_client, poll
from tests.subscriber import subscriber

TEXT = "\u0390" * 130_000
"""Two bytes each, and six in capitals: a megabyte comes out."""

FIELDS = "result { __typename ... on TransformResult { uppercase lowercase wordCount charCount } }"
RESULT = {
    "__typename": "TransformResult",
    "uppercase": TEXT.upper(),
    "lowercase": TEXT.lower(),
    "wordCount": 1,
    "charCount": len(TEXT),
}


def documents(deployment: Deployment, task_id: str) -> list[Any]:
    s3 = aws_client("s3", deployment.env)
    found = s3.list_objects_v2(Bucket=deployment.env["RESULTS_BUCKET"], Prefix=f"results/{task_id}/")
    return [each["Key"] for each in found.get("Contents", [])]


@pytest.fixture(scope="module")
async def large_task(deployment: Deployment) -> str:
    """A task whose result is large, watched to its end."""
    async with subscriber(deployment.ws_url) as client:
        task_id = await deployment.create_id(work={"transform": {"text": TEXT}})
        states = await client.states(task_id)
    assert [states[-1]["status"], states[-1]["result"]] == ["COMPLETED", RESULT]
    return task_id


async def test_a_large_result_is_watched_read_and_fetched(deployment: Deployment, large_task: str) -> None:
    task = await deployment.task(large_task, f"resultUrl {FIELDS}")
    assert task["result"] == RESULT
    async with httpx.AsyncClient() as client:
        document = (await client.get(task["resultUrl"])).json()
    assert set(document) == {"kind", "input", "result", "processedAt"}
    assert (document["kind"], document["input"]["text"]) == ("transform", TEXT)
    assert document["result"]["uppercase"] == RESULT["uppercase"]
    assert len(json.dumps(document["result"], ensure_ascii=False).encode()) > 1_000_000


async def test_a_deleted_task_takes_its_documents_along(deployment: Deployment, large_task: str) -> None:
    assert documents(deployment, large_task) == [f"results/{large_task}/1.json"]
    delete = "mutation Delete($id: ID!) { deleteTask(input: {id: $id}) { deletedId } }"
    answer = await deployment.graphql(delete, id=large_task)
    assert answer["deleteTask"]["deletedId"] == large_task
    poll(lambda: documents(deployment, large_task) == [], seconds=30)
