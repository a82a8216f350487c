"""Requests to SQS past botocore: signed by hand, and sent over connections of our own.

botocore builds, signs and reads a request by its model of the service, with hooks at each step; for the few
that a task takes that is most of what they cost us. Those few are plain JSON, so they are written and signed
here. Invariants: endpoint, region, credentials and TLS are botocore's, whose client it is built upon; what
fails over a connection of ours is tried again over botocore's, which knows more ways to a service.
"""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson
from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from taskql.adapters.sqs.connection import Answer
from taskql.adapters.sqs.connections import connections_like
from taskql.adapters.sqs.signer import Signer

ACTIONS = {
    "send_message_batch": "SendMessageBatch",
    "receive_message": "ReceiveMessage",
    "delete_message_batch": "DeleteMessageBatch",
    "change_message_visibility": "ChangeMessageVisibility",
}
"""What goes this way; all else is left to botocore."""

LONGEST_PAUSE_SECONDS = 0.2
TRY_AGAIN = {"ThrottlingException", "Throttling", "RequestThrottled", "TooManyRequestsException"}

Way = Callable[[Mapping[str, str], bytes], Awaitable[Answer]]
"""How a request goes out, by its headers and its body."""


class LeanRequests:
    """Frequent requests, by the names of botocore's methods, with what its client `raw` is made of."""

    def __init__(self, raw: Any) -> None:
        self._transport = raw._endpoint.http_session
        self._credentials = raw._request_signer._credentials
        self._url = raw.meta.endpoint_url.rstrip("/") + "/"
        self._signer = Signer(urlsplit(self._url).netloc, raw.meta.region_name)
        self._connections = connections_like(raw)

    def close(self) -> None:
        if self._connections is not None:
            self._connections.close()

    async def request(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """SQS's answer. Raises what botocore would raise, and tries again as it would."""
        body = orjson.dumps(arguments)
        way = self._botocores if self._connections is None else self._ours
        try:
            return await self._ask(way, operation, body)
        except (BotoCoreError, OSError):
            pass  # most likely a connection that the server closed just as we took it
        except ClientError as error:
            if not may_pass(error):
                raise
            await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))
        return await self._ask(self._botocores, operation, body)

    async def _ask(self, way: Way, operation: str, body: bytes) -> Any:
        credentials = await self._credentials.get_frozen_credentials()
        headers = self._signer.headers(ACTIONS[operation], body, credentials, int(time.time()))
        answer = await way(headers, body)
        if answer.status != 200:
            raise refusal(operation, answer)
        return content_of(operation, answer)

    async def _ours(self, headers: Mapping[str, str], body: bytes) -> Answer:
        assert self._connections is not None
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"POST / HTTP/1.1\r\n{lines}accept-encoding: identity\r\ncontent-length: {len(body)}\r\n\r\n"
        return await self._connections.exchange(head.encode() + body)

    async def _botocores(self, headers: Mapping[str, str], body: bytes) -> Answer:
        request = AWSPreparedRequest("POST", self._url, headers, body, stream_output=False)
        answer = await self._transport.send(request)
        return Answer(answer.status_code, answer.headers, await answer.content)


def is_plain(url: str) -> bool:
    """Whether the URL names a host and no more: a path of it would have to be signed."""
    parts = urlsplit(url)
    return parts.path in {"", "/"} and not parts.query and "@" not in parts.netloc


def content_of(operation: str, answer: Answer) -> Any:
    """What SQS tells. Half of a character, which orjson refuses, must not hold up the messages beside it."""
    if not answer.content:
        return {}
    try:
        return orjson.loads(answer.content)
    except ValueError:
        pass
    try:
        return json.loads(answer.content)
    except ValueError as error:
        raise ResponseParserError(f"{operation} was not answered with JSON") from error


def refusal(operation: str, answer: Answer) -> ClientError:
    """SQS's error, as botocore would raise it."""
    try:
        found = json.loads(answer.content)
    except ValueError:
        found = None
    said = found if isinstance(found, dict) else {}
    known = answer.headers.get("x-amzn-query-error", "").partition(";")[0]
    code = known or str(said.get("__type", answer.status))
    error = {"Code": code.rpartition("#")[2], "Message": said.get("message") or said.get("Message") or ""}
    return ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": answer.status}}, operation)


def may_pass(error: ClientError) -> bool:
    """Whether the same request may be answered better in a moment."""
    if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
        return True
    return error.response["Error"]["Code"].rpartition(".")[2] in TRY_AGAIN
