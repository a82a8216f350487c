"""One client of SQS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from typing import Any

from taskql.adapters.aws import CONNECT_SECONDS, AwsClient, Refused, open_raw
from taskql.adapters.sqs.lean import ACTIONS, LeanRequests, is_plain
from taskql.errors import Denied, StartupError

READ_SECONDS = 3


class SqsClient(AwsClient):
    """Requests to SQS, and whether it answers them at all. A lean client makes the frequent ones itself."""

    def __init__(self, raw: Any, limit: timedelta, *, lean: bool) -> None:
        super().__init__("SQS", raw, limit)
        self._lean = LeanRequests(raw) if lean and is_plain(raw.meta.endpoint_url) else None

    def close(self) -> None:
        if self._lean is not None:
            self._lean.close()

    async def request(self, operation: str, **arguments: Any) -> Any:
        if self._lean is None or operation not in ACTIONS:
            return await super().request(operation, **arguments)
        async with self._within_limit(operation):
            return await self._lean.request(operation, arguments)

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
    lean: bool = True,
) -> AsyncIterator[SqsClient]:
    """A client with a pool of its own. SQS may hold an answer back for `longest_wait` (long polls)."""
    reading = READ_SECONDS + longest_wait.total_seconds()
    async with open_raw(
        "sqs", endpoint_url=endpoint_url, region=region, read_seconds=reading, connections=connections
    ) as raw:
        limit = timedelta(seconds=CONNECT_SECONDS + reading + 1)
        try:
            client = SqsClient(raw, limit, lean=lean)
        except (OSError, ValueError) as error:
            raise StartupError(f"AWS_ENDPOINT_URL or AWS_CA_BUNDLE can't be used: {error}") from None
        with closing(client):
            yield client
