"""Links lead somewhere."""

from pathlib import Path

import pytest

from tests.documents import links, pages


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_link_to_a_file_of_ours_leads_to_one(page: Path) -> None:
    assert [str(target) for target in links(page) if not target.exists()] == []
