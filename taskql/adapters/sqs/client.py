"""One client of SQS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from taskql.adapters.aws import CONNECT_SECONDS, AwsClient, Refused, open_raw
from taskql.errors import Denied

READ_SECONDS = 3


class SqsClient(AwsClient):
    """Requests to SQS, and whether it answers them at all."""

    async def ping(self, queue_url: str) -> None:
        """Raises Unavailable unless SQS answers, and Denied unless it lets us use the queue."""
        try:
            await self.request("get_queue_attributes", QueueUrl=queue_url, AttributeNames=["QueueArn"])
        except Refused as error:
            if not error.is_ours_to_mend:
                raise
            raise Denied(f"The SQS queue {queue_url} can't be used: {error}") from error


@asynccontextmanager
async def open_client(
    *,
    endpoint_url: str | None = None,
    region: str | None = None,
    connections: int = 10,
    longest_wait: timedelta = timedelta(0),
) -> AsyncIterator[SqsClient]:
    """A client with a pool of its own. SQS may hold an answer back for `longest_wait` (long polls)."""
    reading = READ_SECONDS + longest_wait.total_seconds()
    async with open_raw(
        "sqs", endpoint_url=endpoint_url, region=region, read_seconds=reading, connections=connections
    ) as raw:
        yield SqsClient("SQS", raw, timedelta(seconds=CONNECT_SECONDS + reading + 1))
