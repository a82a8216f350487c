"""What all tests share: one set of real services."""

from collections.abc import Iterator

import pytest

from taskql.devstack import DevStack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """PostgreSQL, Valkey and SQS for the whole run; a test that breaks a server starts a stack of its own."""
    with DevStack(data=tmp_path_factory.mktemp("stack"), say=lambda _: None) as stack:
        yield stack
