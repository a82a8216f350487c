"""Pipes against a real Valkey, through a middleman who may spoil what it answers."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.exceptions import InvalidResponse, ResponseError

from taskql.adapters.redis.connections import Connector
from taskql.adapters.redis.pipe import Pipe
from taskql.adapters.redis.wire import Words

Spoil = Callable[[bytes], bytes]
"""Makes of what Valkey has answered what arrives. If that is less, the connection is cut."""
ECHO: list[Words] = [("ECHO", each) for each in "abc"]
ECHOES = [b"a", b"b", b"c"]


class Middleman:
    """Passes on what it gets, answers as the next spoiler wants them."""

    def __init__(self, url: str) -> None:
        self._path = urlsplit(url).path
        self.spoilers: list[Spoil] = []
        self.piece_bytes = 65_536
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        answers, asks = await asyncio.open_unix_connection(self._path)
        asking = asyncio.create_task(pass_on(reader, asks))
        with suppress(OSError):
            while data := await answers.read(65_536):
                spoilt = self.spoilers.pop(0)(data) if self.spoilers else data
                for at in range(0, len(spoilt), self.piece_bytes):
                    writer.write(spoilt[at : at + self.piece_bytes])
                    await asyncio.sleep(0)
                if len(spoilt) < len(data):
                    break
        for each in (writer, asks):
            each.close()
        await asking


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def piped(url: str, context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Pipe, Middleman]]:
    middleman = Middleman(url)
    async with await asyncio.start_server(middleman, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        scheme = "rediss" if context else "redis"
        options = "?ssl_cert_reqs=none&ssl_check_hostname=false" if context else ""
        pipe = Pipe(Connector(f"{scheme}://127.0.0.1:{port}/0{options}").make(), None)
        yield pipe, middleman
        await pipe.close()


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """Of a server that vouches for itself."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")]),
    )
    begin = datetime.now(UTC) - timedelta(days=1)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=9))
    file = tmp_path / "server.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_replies_stand_in_the_order_of_their_commands_and_so_do_errors(redis_url: str) -> None:
    key = f"test:{uuid4()}"
    async with piped(redis_url) as (pipe, middleman):
        commands: list[Words] = [("SET", key, "ä", "PX", 60_000), ("LPUSH", key, b"x"), ("GET", key)]
        done, refused, value = await pipe.run(commands)
        assert (done, value) == (b"OK", "ä".encode())
        assert isinstance(refused, ResponseError)
        assert "WRONGTYPE" in str(refused)
        assert await pipe.run(ECHO) == ECHOES
        assert middleman.connections == 1


async def test_replies_in_the_smallest_of_pieces_are_read_whole(redis_url: str) -> None:
    async with piped(redis_url) as (pipe, middleman):
        middleman.piece_bytes = 1
        assert await pipe.run([*ECHO, *ECHO]) == [*ECHOES, *ECHOES]


async def test_a_server_is_asked_over_tls(redis_url: str, tls: ssl.SSLContext) -> None:
    async with piped(redis_url, tls) as (pipe, _):
        large = b"x" * 1_000
        assert await pipe.run([*ECHO, ("ECHO", large)]) == [*ECHOES, large]


@pytest.mark.parametrize("length", [0, 1, 7, 13])
async def test_what_is_asked_over_a_connection_that_is_cut_is_asked_again(
    redis_url: str, length: int
) -> None:
    async with piped(redis_url) as (pipe, middleman):
        assert await pipe.run(ECHO) == ECHOES
        middleman.spoilers = [lambda data: data[:length]]
        assert await pipe.run([*ECHO, *ECHO]) == [*ECHOES, *ECHOES]
        assert middleman.connections == 2


async def test_a_reply_that_nobody_has_asked_for_is_nobody_s(redis_url: str) -> None:
    async with piped(redis_url) as (pipe, middleman):
        assert await pipe.run(ECHO) == ECHOES
        middleman.spoilers = [lambda data: data + b"+more\r\n"]
        assert await pipe.run(ECHO) == ECHOES
        assert await pipe.run(ECHO) == ECHOES
        assert middleman.connections == 2


async def test_what_is_no_reply_is_an_error_once(redis_url: str) -> None:
    async with piped(redis_url) as (pipe, middleman):
        assert await pipe.run(ECHO) == ECHOES
        middleman.spoilers = [lambda data: data[:7] + b"?" + data]
        with pytest.raises(InvalidResponse):
            await pipe.run(ECHO)
        assert await pipe.run(ECHO) == ECHOES
