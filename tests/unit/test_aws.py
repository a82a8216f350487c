"""Clients of AWS, opened one after the other."""

import pytest
from botocore.loaders import JSONFileLoader

from taskql.adapters.aws import open_raw


async def opened(monkeypatch: pytest.MonkeyPatch, key: str) -> str:
    """Whose requests a client signs that is opened now."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    address = "http://127.0.0.1:1"
    async with open_raw(
        "sqs", endpoint_url=address, region="us-east-1", read_seconds=1, connections=1
    ) as client:
        return str(client._get_credentials().access_key)


async def test_what_a_service_is_like_is_read_once_and_credentials_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await opened(monkeypatch, "first") == "first"

    def read(*_: object) -> object:
        raise AssertionError("a description was read again")

    monkeypatch.setattr(JSONFileLoader, "load_file", read)
    assert await opened(monkeypatch, "second") == "second"
