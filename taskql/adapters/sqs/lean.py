"""Requests to SQS past botocore: signed by hand, and sent over the connections of botocore's own client.

botocore builds, signs and reads a request by its model of the service, with hooks at each step; for the few
that a task takes that is most of what they cost us. Those few are plain JSON, so they are written and signed
here. Invariant: endpoint, region, credentials, TLS and proxies are botocore's, whose client it is built upon.
"""

import asyncio
import hashlib
import hmac
import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from taskql.adapters.aws import TRIES

ACTIONS = {
    "send_message_batch": "SendMessageBatch",
    "receive_message": "ReceiveMessage",
    "delete_message_batch": "DeleteMessageBatch",
    "change_message_visibility": "ChangeMessageVisibility",
}
"""What goes this way; all else is left to botocore."""

LONGEST_PAUSE_SECONDS = 0.2
TRY_AGAIN = {"ThrottlingException", "Throttling", "RequestThrottled", "TooManyRequestsException"}


class LeanRequests:
    """Frequent requests, by the names of botocore's methods, with what its client `raw` is made of."""

    def __init__(self, raw: Any) -> None:
        self._transport = raw._endpoint.http_session
        self._credentials = raw._request_signer._credentials
        self._url = raw.meta.endpoint_url.rstrip("/") + "/"
        self._host = urlsplit(self._url).netloc
        self._region = raw.meta.region_name

    async def request(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """SQS's answer. Raises what botocore would raise, and tries again as it would."""
        body = json.dumps(arguments, separators=(",", ":")).encode()
        for _ in range(TRIES - 1):
            try:
                return await self._exchange(operation, body)
            except (BotoCoreError, OSError):
                pass  # most likely a connection that the server closed just as we took it
            except ClientError as error:
                if not may_pass(error):
                    raise
                await asyncio.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))
        return await self._exchange(operation, body)

    async def _exchange(self, operation: str, body: bytes) -> Any:
        credentials = await self._credentials.get_frozen_credentials()
        headers = {
            "Host": self._host,
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"AmazonSQS.{ACTIONS[operation]}",
            "X-Amzn-Query-Mode": "true",  # errors have the codes that botocore knows
        }
        headers |= signature(headers, body, credentials, self._region, datetime.now(UTC))
        request = AWSPreparedRequest("POST", self._url, headers, body, stream_output=False)
        answer = await self._transport.send(request)
        content = await answer.content
        if answer.status_code != 200:
            raise refusal(operation, answer.status_code, answer.headers, content)
        try:
            return json.loads(content) if content else {}
        except ValueError as error:
            raise ResponseParserError(f"{operation} was not answered with JSON") from error


def signature(
    headers: Mapping[str, str], body: bytes, credentials: Any, region: str, now: datetime
) -> dict[str, str]:
    """The headers that sign a POST to / of SQS, by AWS's signature version 4."""
    moment = now.strftime("%Y%m%dT%H%M%SZ")
    added = {"X-Amz-Date": moment}
    if credentials.token:
        added["X-Amz-Security-Token"] = credentials.token
    signed = sorted((name.lower(), value) for name, value in {**headers, **added}.items())
    names = ";".join(name for name, _ in signed)
    lines = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in signed)
    canonical = f"POST\n/\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{moment[:8]}/{region}/sqs/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    added["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
        f"SignedHeaders={names}, Signature={key.hex()}"
    )
    return added


def refusal(operation: str, status: int, headers: Mapping[str, str], content: bytes) -> ClientError:
    """SQS's error, as botocore would raise it."""
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    said = found if isinstance(found, dict) else {}
    code = headers.get("x-amzn-query-error", "").partition(";")[0] or str(said.get("__type", status))
    error = {"Code": code.rpartition("#")[2], "Message": said.get("message") or said.get("Message") or ""}
    return ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}, operation)


def may_pass(error: ClientError) -> bool:
    """Whether the same request may be answered better in a moment."""
    if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
        return True
    return error.response["Error"]["Code"].rpartition(".")[2] in TRY_AGAIN
