"""Documents of results in a bucket, as `results/{task id}/{attempt}.json`.

Invariant: a location names its bucket, so that what was stored before RESULTS_BUCKET changed is still found.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

from taskql.adapters.aws import Refused
from taskql.adapters.s3.client import S3Client, open_client
from taskql.errors import Denied, NotFound
from taskql.task import Lease

JSON_TYPE = "application/json"
SCHEME = "s3://"


class S3Results:
    """ResultStore over S3: new documents go to `bucket`."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    async def put(self, lease: Lease, document: bytes) -> str:
        key = f"results/{lease.task_id}/{lease.attempt}.json"
        with denials(self._bucket):
            await self._client.request(
                "put_object", Bucket=self._bucket, Key=key, Body=document, ContentType=JSON_TYPE
            )
        return f"{SCHEME}{self._bucket}/{key}"

    async def get(self, location: str, max_bytes: int) -> bytes:
        place = place_of(location)
        try:
            with denials(place["Bucket"]):
                return await self._client.read(max_bytes, **place)
        except Refused as error:
            if error.code != "NoSuchKey":
                raise
            raise NotFound(f"There is nothing at {location} (any more).") from error

    async def url(self, location: str, valid_for: timedelta) -> str:
        place = place_of(location)
        name = place["Key"].removeprefix("results/").replace("/", "-")
        return await self._client.sign(
            "get_object",
            valid_for,
            ResponseContentType=JSON_TYPE,
            ResponseContentDisposition=f'attachment; filename="{name}"',
            **place,
        )

    async def forget(self, location: str) -> None:
        place = place_of(location)
        bucket, folder = place["Bucket"], place["Key"].rpartition("/")[0] + "/"
        with denials(bucket):
            while found := await self._listed(bucket, folder):
                await asyncio.gather(
                    *(self._client.request("delete_object", Bucket=bucket, Key=key) for key in found)
                )

    async def drop(self, location: str) -> None:
        place = place_of(location)
        with denials(place["Bucket"]):
            await self._client.request("delete_object", **place)

    async def ping(self) -> None:
        """Raises Unavailable unless S3 answers, and Denied unless it lets us use the bucket."""
        with denials(self._bucket):
            await self._client.request("head_bucket", Bucket=self._bucket)

    async def _listed(self, bucket: str, folder: str) -> list[str]:
        """The first keys in the folder, a thousand at most."""
        answer = await self._client.request("list_objects_v2", Bucket=bucket, Prefix=folder)
        return [found["Key"] for found in answer.get("Contents", ())]


def place_of(location: str) -> Mapping[str, str]:
    bucket, _, key = location.removeprefix(SCHEME).partition("/")
    return {"Bucket": bucket, "Key": key}


@contextmanager
def denials(bucket: str) -> Iterator[None]:
    """A refusal that names what an operator has to mend."""
    try:
        yield
    except Refused as error:
        if error.is_ours_to_mend and error.code != "NoSuchKey":
            raise Denied(f"The S3 bucket {bucket} can't be used: {error}") from error
        raise


@asynccontextmanager
async def open_results(
    bucket: str, *, endpoint_url: str | None = None, region: str | None = None
) -> AsyncIterator[S3Results]:
    async with open_client(endpoint_url=endpoint_url, region=region) as client:
        yield S3Results(client, bucket)
