"""The contract of ResultStore, held against S3 on the emulator."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from taskql.adapters.s3 import S3Results, open_results
from taskql.devstack import DevStack
from taskql.errors import Denied, NotFound, TooLarge, Unavailable
from taskql.ports import ResultStore
from taskql.task import Lease
from tests.deployment import aws_client, free_port

MEGABYTES = 100 * 1024 * 1024
MINUTES = timedelta(minutes=5)
DOCUMENT = b'{"result":"\xc3\xa4"}'


@pytest.fixture
def aws(stack: DevStack, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where S3 is."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", stack.env["AWS_ACCESS_KEY_ID"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", stack.env["AWS_SECRET_ACCESS_KEY"])
    return {"endpoint_url": stack.env["AWS_ENDPOINT_URL"], "region": stack.env["AWS_REGION"]}


@pytest.fixture
async def results(stack: DevStack, aws: dict[str, str]) -> AsyncIterator[S3Results]:
    async with open_results(stack.env["RESULTS_BUCKET"], **aws) as results:
        yield results


@pytest.fixture
def s3(stack: DevStack) -> Any:
    return aws_client("s3", stack.env)


def keys(s3: Any, stack: DevStack, task_id: UUID) -> list[str]:
    found = s3.list_objects_v2(Bucket=stack.env["RESULTS_BUCKET"], Prefix=f"results/{task_id}")
    return [each["Key"] for each in found.get("Contents", [])]


async def test_a_document_is_found_where_it_was_put(results: ResultStore) -> None:
    location = await results.put(Lease(uuid4(), 1), DOCUMENT)
    assert await results.get(location, MEGABYTES) == DOCUMENT


async def test_a_document_has_a_key_of_task_and_attempt_and_is_json(
    results: ResultStore, s3: Any, stack: DevStack
) -> None:
    lease = Lease(uuid4(), 2)
    location = await results.put(lease, DOCUMENT)
    bucket, key = stack.env["RESULTS_BUCKET"], f"results/{lease.task_id}/2.json"
    assert location == f"s3://{bucket}/{key}"
    assert s3.head_object(Bucket=bucket, Key=key)["ContentType"] == "application/json"


async def test_each_attempt_has_a_document_of_its_own(results: ResultStore) -> None:
    task_id = uuid4()
    locations = [await results.put(Lease(task_id, n), str(n).encode()) for n in (1, 2)]
    assert [await results.get(location, MEGABYTES) for location in locations] == [b"1", b"2"]


async def test_a_large_document_comes_back_whole(results: ResultStore) -> None:
    document = bytes(range(256)) * 4096 * 10
    assert await results.get(await results.put(Lease(uuid4(), 1), document), MEGABYTES) == document


async def test_what_is_too_large_is_not_read(results: ResultStore) -> None:
    location = await results.put(Lease(uuid4(), 1), DOCUMENT)
    with pytest.raises(TooLarge, match=f"{len(DOCUMENT)} bytes"):
        await results.get(location, len(DOCUMENT) - 1)
    assert await results.get(location, len(DOCUMENT)) == DOCUMENT


async def test_what_is_not_there_is_not_found(results: ResultStore) -> None:
    location = await results.put(Lease(uuid4(), 1), DOCUMENT)
    await results.drop(location)
    with pytest.raises(NotFound, match=location):
        await results.get(location, MEGABYTES)


async def test_dropping_one_document_keeps_the_others_and_can_be_repeated(results: ResultStore) -> None:
    task_id = uuid4()
    first, second = [await results.put(Lease(task_id, n), DOCUMENT) for n in (1, 2)]
    await results.drop(first)
    await results.drop(first)
    assert await results.get(second, MEGABYTES) == DOCUMENT


async def test_a_forgotten_task_leaves_no_document_of_any_attempt(
    results: ResultStore, s3: Any, stack: DevStack
) -> None:
    gone, kept = uuid4(), uuid4()
    location, *_ = [await results.put(Lease(gone, n), DOCUMENT) for n in (1, 2, 10)]
    other = await results.put(Lease(kept, 1), DOCUMENT)
    assert len(keys(s3, stack, gone)) == 3
    await results.forget(location)
    await results.forget(location)
    assert keys(s3, stack, gone) == []
    assert await results.get(other, MEGABYTES) == DOCUMENT


async def test_anybody_may_fetch_a_document_by_its_url_as_a_file_of_json(results: ResultStore) -> None:
    lease = Lease(uuid4(), 3)
    url = await results.url(await results.put(lease, DOCUMENT), MINUTES)
    async with httpx.AsyncClient() as client:
        answer = await client.get(url)
    assert (answer.status_code, answer.content) == (200, DOCUMENT)
    assert answer.headers["content-type"] == "application/json"
    assert f'filename="{lease.task_id}-3.json"' in answer.headers["content-disposition"]


async def test_a_url_says_how_long_it_is_good_for_and_is_signed(results: ResultStore) -> None:
    url = httpx.URL(await results.url(await results.put(Lease(uuid4(), 1), DOCUMENT), MINUTES))
    assert url.params["X-Amz-Expires"] == "300"
    assert len(url.params["X-Amz-Signature"]) == 64


async def test_a_location_outlives_a_change_of_the_bucket(results: ResultStore, aws: dict[str, str]) -> None:
    location = await results.put(Lease(uuid4(), 1), DOCUMENT)
    async with open_results("another-bucket", **aws) as moved:
        assert await moved.get(location, MEGABYTES) == DOCUMENT
        await moved.forget(location)
        with pytest.raises(NotFound):
            await moved.get(location, MEGABYTES)


async def test_a_bucket_that_is_not_there_is_named(aws: dict[str, str]) -> None:
    async with open_results("misspelt-bucket", **aws) as results:
        with pytest.raises(Denied, match="misspelt-bucket can't be used: S3 refused"):
            await results.put(Lease(uuid4(), 1), DOCUMENT)
        with pytest.raises(Denied, match="misspelt-bucket"):
            await results.get("s3://misspelt-bucket/results/x/1.json", MEGABYTES)
        with pytest.raises(Denied, match="misspelt-bucket"):
            await results.forget("s3://misspelt-bucket/results/x/1.json")
        with pytest.raises(Denied, match="misspelt-bucket"):
            await results.ping()


async def test_ping_is_content_with_a_bucket(results: ResultStore) -> None:
    await results.ping()


async def test_an_outage_is_unavailable_in_all_that_is_asked(aws: dict[str, str]) -> None:
    location = "s3://bucket/results/x/1.json"
    nobody = f"http://127.0.0.1:{free_port()}"
    async with open_results("bucket", endpoint_url=nobody, region=aws["region"]) as results:
        outcomes = await asyncio.gather(
            results.put(Lease(uuid4(), 1), DOCUMENT),
            results.get(location, MEGABYTES),
            results.forget(location),
            results.drop(location),
            results.ping(),
            return_exceptions=True,
        )
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert all(str(outcome).startswith("S3 does not answer ") for outcome in outcomes)


async def test_an_answer_that_breaks_off_is_an_outage(aws: dict[str, str]) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(break_off, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with open_results("b", endpoint_url=url, region=aws["region"]) as results:
            with pytest.raises(Unavailable, match="S3 broke off"):
                await results.get("s3://b/results/x/1.json", MEGABYTES)
