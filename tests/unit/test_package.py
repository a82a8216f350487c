"""Lambda's deployment package: what goes in, the same bytes each time, and an error that tells what to do."""

import re
import zipfile
from pathlib import Path

import pytest

from deploy import package
from deploy.package import PackageError, add, compile_all, install, pack
from tests.deployment import ROOT

PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)|--hash=(\S+)", re.MULTILINE)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """What is to be packed, without the wheels."""
    site = tmp_path / "site"
    site.mkdir()
    return site


def pins(name: str) -> set[tuple[str, ...]]:
    return set(PINNED.findall((ROOT / "requirements" / name).read_text()))


def test_the_package_has_the_consumer_in_the_versions_that_run() -> None:
    assert pins("lambda.txt") < pins("run.txt")


def test_it_holds_our_sources_and_no_leftovers(site: Path, tmp_path: Path) -> None:
    source = tmp_path / "mine"
    for folder in ("__pycache__", "node_modules"):
        (source / folder).mkdir(parents=True)
    for name in ("__init__.py", "data.json", ".hidden", "__pycache__/old.pyc", "node_modules/x.js"):
        (source / name).write_text("")
    add(source, site)
    (tmp_path / "single.py").write_text("")
    add(tmp_path / "single.py", site)
    pack(site, tmp_path / "zip")
    with zipfile.ZipFile(tmp_path / "zip") as archive:
        assert archive.namelist() == ["mine/__init__.py", "mine/data.json", "single.py"]


def test_the_same_sources_make_the_same_bytes(tmp_path: Path) -> None:
    packed = []
    for name in ("one", "other"):
        site = tmp_path / name
        site.mkdir()
        for folder in package.OURS:
            add(ROOT / folder, site)
        compile_all(site)
        pack(site, tmp_path / f"{name}.zip")
        packed.append((tmp_path / f"{name}.zip").read_bytes())
    assert packed[0] == packed[1]
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert any(name.endswith(".pyc") for name in archive.namelist())
        assert archive.testzip() is None


def test_an_extra_that_is_not_there_is_named(site: Path) -> None:
    with pytest.raises(PackageError, match="not_there is not there"):
        add(Path("not_there"), site)


def test_an_extra_takes_no_name_of_ours(site: Path, tmp_path: Path) -> None:
    (site / "taskql").mkdir()
    (tmp_path / "taskql").mkdir()
    with pytest.raises(PackageError, match="has a taskql already"):
        add(tmp_path / "taskql", site)


def test_what_lambda_would_not_take_is_refused(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "MAX_BYTES", 10)
    (site / "large.py").write_text("x" * 11)
    with pytest.raises(PackageError, match="11 bytes are more than Lambda takes"):
        pack(site, tmp_path / "zip")


def test_where_the_wheels_cannot_be_fetched_uv_s_words_and_ours_say_so(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    with pytest.raises(PackageError, match=r"(?s)aioboto3.*for Python 3\.13 on arm64.*run make lambda again"):
        install(site, "arm64", "3.13")


def test_a_native_package_is_for_this_python(site: Path) -> None:
    with pytest.raises(PackageError, match=r"and not for 3\.99"):
        install(site, "native", "3.99")


def test_a_build_that_fails_leaves_the_last_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "install", lambda site, arch, python: site.mkdir())
    built = tmp_path / "build" / "lambda.zip"
    package.build(built, python="3.99")
    before = built.read_bytes()
    with pytest.raises(PackageError):
        package.build(built, python="3.99", extras=[Path("not_there")])
    assert built.read_bytes() == before
    assert list(built.parent.iterdir()) == [built]
