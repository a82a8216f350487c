"""The page where none is built."""

from pathlib import Path

import pytest

from gql import pages


def test_page_that_is_not_built_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pages, "BUILT", tmp_path / "dist")

    page = pages.graphiql()

    assert page.status_code == 200
    assert b"make web" in bytes(page.body)
    assert "content-security-policy" in page.headers


def test_page_built_meanwhile_is_served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pages, "BUILT", tmp_path)
    (tmp_path / "graphiql.html").write_text("<title>built</title>")

    assert pages.graphiql().body == b"<title>built</title>"
