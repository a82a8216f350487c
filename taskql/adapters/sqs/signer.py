"""Signs requests to SQS by AWS's signature version 4.

Invariant: a signature is the one that botocore would make for the same request at the same second.
"""

import hmac
import time
from functools import lru_cache
from hashlib import sha256
from typing import Any


class Signer:
    """For POSTs of JSON to / of one host in one region."""

    def __init__(self, host: str, region: str) -> None:
        self._host = host
        self._region = region

    def headers(self, action: str, body: bytes, credentials: Any, second: int) -> dict[str, str]:
        """All headers that the request needs, in the order in which they are signed."""
        moment = moment_of(second)
        headers = {"content-type": "application/x-amz-json-1.0", "host": self._host, "x-amz-date": moment}
        if credentials.token:
            headers["x-amz-security-token"] = " ".join(credentials.token.split())
        headers["x-amz-target"] = f"AmazonSQS.{action}"
        headers["x-amzn-query-mode"] = "true"  # errors have the codes that botocore knows
        names = ";".join(headers)
        lines = "\n".join([f"{name}:{value}" for name, value in headers.items()])
        canonical = f"POST\n/\n\n{lines}\n\n{names}\n{sha256(body).hexdigest()}"
        scope = f"{moment[:8]}/{self._region}/sqs/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        key = hmac.digest(key_of(credentials.secret_key, scope), text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={names}, Signature={key}"
        )
        return headers


@lru_cache(maxsize=1)
def moment_of(second: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


@lru_cache(maxsize=1)
def key_of(secret_key: str, scope: str) -> bytes:
    """The key of a day: it changes with the credentials too, which are the same for a whole process."""
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
