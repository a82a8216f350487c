"""A client of one AWS service: its pool, its time limits, and its errors as ours.

Invariants: a request ends within its time limit, with an answer, `Refused` or `Unavailable`; over TLS it goes
to nobody but the host that its address names.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError, ParamValidationError
from botocore.loaders import Loader, create_loader
from botocore.parsers import ResponseParserError

from taskql.errors import StartupError, Unavailable

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
CONNECT_SECONDS = 1
# One more try hides a connection that the server closed just as we took it from the pool.
TRIES = 2


class Refused(Unavailable):
    """The service answered, with an error. `code` is AWS's, without its namespace.

    It counts as an outage: a missing queue or permission is given back by an operator, not by a restart.
    """

    def __init__(self, service: str, operation: str, error: ClientError) -> None:
        details = error.response.get("Error", {})
        self.code = bare_code(str(details.get("Code", "unknown")))
        self.status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        super().__init__(f"{service} refused {operation}: {self.code}: {details.get('Message', '')}")

    @property
    def is_ours_to_mend(self) -> bool:
        """Whether the request is at fault, and not how the service fares or how much we ask of it."""
        return 400 <= self.status < 500 and "Throttl" not in self.code


class AwsClient:
    """Requests by the name of botocore's methods."""

    def __init__(self, service: str, raw: Any, limit: timedelta) -> None:
        self._service = service
        self._raw = raw
        self._limit = limit

    async def request(self, operation: str, **arguments: Any) -> Any:
        """The service's answer. Raises Refused, or Unavailable where there is none in time."""
        async with self._within_limit(operation):
            return await getattr(self._raw, operation)(**arguments)

    @asynccontextmanager
    async def _within_limit(self, operation: str) -> AsyncIterator[None]:
        try:
            # botocore's own limits leave out name resolution, the wait for a connection, and the second try.
            async with asyncio.timeout(self._limit.total_seconds()):
                yield
        except ClientError as error:
            raise Refused(self._service, operation, error) from error
        except ParamValidationError:
            raise  # a mistake of ours, which time won't mend
        except (BotoCoreError, ResponseParserError, OSError) as error:
            raise Unavailable(
                f"{self._service} does not answer {operation}: {str(error) or type(error).__name__}"
            ) from error


class CheckedTransport(AIOHTTPSession):  # type: ignore[misc]
    """botocore's transport for asyncio, which by itself takes a certificate of any name, and of anybody from
    behind a proxy.
    """

    def _get_ssl_context(self) -> ssl.SSLContext:
        context: ssl.SSLContext = super()._get_ssl_context()
        context.check_hostname = True
        return context

    def _setup_proxy_ssl_context(self, proxy_url: str) -> ssl.SSLContext:
        return super()._setup_proxy_ssl_context(proxy_url) or self._get_ssl_context()


def bare_code(code: str) -> str:
    """AWS's name for what is wrong, without its namespace."""
    return code.rpartition(".")[2]


def is_loopback(url: str | None) -> bool:
    return url is not None and urlsplit(url).hostname in LOOPBACK


@asynccontextmanager
async def open_raw(
    service: str,
    *,
    endpoint_url: str | None,
    region: str | None,
    read_seconds: float,
    connections: int,
    **config: Any,
) -> AsyncIterator[Any]:
    """botocore's own client of a service, with a pool of its own; `config` is botocore's."""
    how = AioConfig(
        http_session_cls=CheckedTransport,
        proxies={} if is_loopback(endpoint_url) else None,  # a proxy can't reach an emulator on this machine
        connect_timeout=CONNECT_SECONDS,
        read_timeout=read_seconds,
        max_pool_connections=connections,
        retries={"total_max_attempts": TRIES, "mode": "standard"},
        **config,
    )
    async with AsyncExitStack() as stack:
        try:
            session = open_session()
            await require_credentials(session)
            raw = await stack.enter_async_context(
                session.client(service, endpoint_url=endpoint_url, region_name=region, config=how)
            )
        except NoRegionError:
            raise StartupError(f"The region of {service.upper()} is not known; set AWS_REGION.") from None
        except BotoCoreError as error:
            raise StartupError(f"The AWS SDK can't use its settings (AWS_*): {error}") from None
        except ValueError as error:
            raise StartupError(f"AWS_ENDPOINT_URL can't be used: {error}") from None
        yield raw


def open_session() -> aioboto3.Session:
    """A session of its own, with its own credentials; what AWS's services are like is read once."""
    below = get_session()
    below.register_component("data_loader", descriptions(below.get_config_variable("data_path")))
    return aioboto3.Session(botocore_session=below)


@cache
def descriptions(data_path: str | None) -> Loader:
    """botocore's descriptions of services and endpoints: a megabyte of JSON for each client otherwise."""
    return create_loader(data_path)


async def require_credentials(session: aioboto3.Session) -> None:
    """Without any, each request would fail anew, and only after a search for them."""
    if await session.get_credentials() is None:
        raise StartupError(
            "There are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile "
            "in AWS_PROFILE, or give this machine a role. An emulator takes any two words."
        )
