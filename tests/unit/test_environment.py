"""What must not stand in our environment."""

from importlib.metadata import distributions
from pathlib import Path

import gql


def test_the_client_library_of_the_same_name_is_not_installed_beside_us() -> None:
    assert "gql" not in {distribution.name.lower() for distribution in distributions()}
    assert Path(gql.__file__).parents[1] == Path(__file__).parents[2]
