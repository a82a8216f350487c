"""How requests to SQS go out, past botocore and with it: over TLS, through proxies, and once more."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from taskql.adapters.aws import open_raw
from taskql.adapters.sqs import SqsClient, open_client
from taskql.adapters.sqs.connections import connections_like
from taskql.errors import StartupError, Unavailable
from tests.unit.http_server import Server, Talk, answer, answering, request_from, served

REGION = "us-east-1"
FINE = answer(b'{"Messages": []}')

both_clients = pytest.mark.parametrize("lean", [True, False], ids=["lean", "botocore"])


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def certificate(folder: Path, name: str) -> Path:
    """A certificate for one name, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now, day = datetime.now(UTC), timedelta(days=1)
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        signed.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path


@asynccontextmanager
async def secured(shown: Path) -> AsyncIterator[Server]:
    """A service that shows this certificate."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(shown)
    async with served(answering(FINE), tls=tls) as server:
        yield server


async def ask(client: SqsClient) -> Any:
    return await client.request("receive_message", QueueUrl="http://localhost/000000000000/queue")


async def asked(endpoint_url: str, *, lean: bool) -> Any:
    async with open_client(endpoint_url=endpoint_url, region=REGION, lean=lean) as client:
        answered = await ask(client)
        return answered["Messages"]


# ---------------------------------------------------------------- over TLS


@both_clients
async def test_a_service_with_a_certificate_of_its_name_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lean: bool
) -> None:
    shown = certificate(tmp_path, "localhost")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(shown))
    async with secured(shown) as server:
        assert await asked(f"https://localhost:{server.port}", lean=lean) == []


def test_so_it_is_on_the_loop_that_our_processes_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_a_service_with_a_certificate_of_its_name_is_asked(tmp_path, monkeypatch, lean=True))


@both_clients
async def test_a_certificate_of_another_name_is_nobody_s_to_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lean: bool
) -> None:
    shown = certificate(tmp_path, "other.example")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(shown))
    async with secured(shown) as server:
        with pytest.raises(Unavailable, match="not valid for 'localhost'"):
            await asked(f"https://localhost:{server.port}", lean=lean)


@both_clients
async def test_a_certificate_of_an_unknown_authority_is_not_accepted(tmp_path: Path, lean: bool) -> None:
    async with secured(certificate(tmp_path, "localhost")) as server:
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await asked(f"https://localhost:{server.port}", lean=lean)


async def test_a_bundle_that_is_not_there_is_named_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere.pem")
    with pytest.raises(StartupError, match="AWS_CA_BUNDLE"):
        async with open_client(endpoint_url="https://localhost", region=REGION):
            pass


# ---------------------------------------------------------------- through proxies


def tunnelling(port: int) -> Talk:
    """A proxy that sends everybody to one port of this machine."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await request_from(reader)).startswith(b"CONNECT sqs.example:443 ")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(passing(reader, back), passing(there, writer))
        finally:
            back.transport.abort()

    return talk


async def passing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.transport.abort()


@both_clients
async def test_a_proxy_is_asked_where_there_is_one(monkeypatch: pytest.MonkeyPatch, lean: bool) -> None:
    seen: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request_from(reader))
        writer.write(FINE)
        await reader.read()

    async with served(proxy) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
        assert await asked("http://sqs.example", lean=lean) == []
    assert seen[0].startswith(b"POST http://sqs.example/ ")


@both_clients
@pytest.mark.parametrize("name", ["sqs.example", "other.example"])
async def test_a_proxy_does_not_vouch_for_the_service_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, lean: bool
) -> None:
    """Neither for one that nobody knows, as without AWS_CA_BUNDLE, nor for one of another name."""
    shown = certificate(tmp_path, name)
    async with secured(shown) as service, served(tunnelling(service.port)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await asked("https://sqs.example", lean=lean)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(shown))
        if name == "sqs.example":
            assert await asked("https://sqs.example", lean=lean) == []
        else:
            with pytest.raises(Unavailable, match=r"not valid for 'sqs\.example'"):
                await asked("https://sqs.example", lean=lean)


# ---------------------------------------------------------------- once more


@both_clients
@pytest.mark.parametrize(
    "failing",
    [answering(), answering(answer(b"{}", "503 Slow Down"), FINE)],
    ids=["a connection that is closed", "an answer that it is busy"],
)
async def test_what_may_pass_is_asked_once_more(failing: Talk, lean: bool) -> None:
    async with served(failing, answering(FINE)) as server:
        assert await asked(f"http://127.0.0.1:{server.port}", lean=lean) == []


@both_clients
async def test_what_does_not_pass_is_an_outage(lean: bool) -> None:
    async with served(answering()) as server:
        with pytest.raises(Unavailable, match="does not answer receive_message"):
            await asked(f"http://127.0.0.1:{server.port}", lean=lean)
        assert server.connections == 2


@both_clients
async def test_connections_end_with_their_client(lean: bool) -> None:
    async with served(answering(FINE)) as server:
        assert await asked(f"http://127.0.0.1:{server.port}", lean=lean) == []
        await server.until_ended(0)


async def test_connections_that_botocore_makes_in_a_way_of_its_own_are_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ours(endpoint_url: str = "https://sqs.example", **config: Any) -> bool:
        async with open_raw(
            "sqs", endpoint_url=endpoint_url, region=REGION, read_seconds=1, connections=1, **config
        ) as raw:
            return connections_like(raw) is not None

    assert await ours()
    assert not await ours(client_cert=str(certificate(tmp_path, "us")))
    assert not await ours("ftp://sqs.example")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert not await ours()
    monkeypatch.setenv("no_proxy", "sqs.example")
    assert await ours()
