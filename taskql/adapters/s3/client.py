"""One client of S3."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from taskql.adapters.aws import AwsClient, open_raw
from taskql.errors import TooLarge, Unavailable

CONNECTIONS = 20
READ_SECONDS = 10
LIMIT = timedelta(seconds=30)
"""Of a request as a whole: a document may have a hundred megabytes."""


class S3Client(AwsClient):
    """Requests to S3, bodies and signatures included."""

    async def read(self, max_bytes: int, **arguments: Any) -> bytes:
        """An object, whole. Raises TooLarge, having read none of it."""
        async with self._within_limit("get_object"):
            answer = await self._raw.get_object(**arguments)
            async with answer["Body"] as body:
                if answer["ContentLength"] > max_bytes:
                    body.close()
                    raise TooLarge(f"The object has {answer['ContentLength']} bytes, of {max_bytes} allowed.")
                try:
                    return bytes(await body.read())
                except Exception as error:  # the HTTP library's own: botocore passes some of them on
                    raise Unavailable(f"S3 broke off get_object: {type(error).__name__}") from error

    async def sign(self, operation: str, valid_for: timedelta, **arguments: Any) -> str:
        """A URL by which anybody may make this request until `valid_for` has passed. Asks nobody."""
        async with self._within_limit("generate_presigned_url"):
            return str(
                await self._raw.generate_presigned_url(
                    operation, Params=arguments, ExpiresIn=int(valid_for.total_seconds())
                )
            )


@asynccontextmanager
async def open_client(*, endpoint_url: str | None, region: str | None) -> AsyncIterator[S3Client]:
    async with open_raw(
        "s3",
        endpoint_url=endpoint_url,
        region=region,
        read_seconds=READ_SECONDS,
        connections=CONNECTIONS,
        signature_version="s3v4",  # what presigned URLs need in most regions
    ) as raw:
        yield S3Client("S3", raw, LIMIT)
