"""Handlers of installed packages: found by their entry points, and refused with the package's name."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskql.errors import HandlerRefused
from taskql.registry import SHIPPED, load_registry

HANDLER = """
from dataclasses import dataclass
from taskql import TaskContext, handler

@dataclass
class Out:
    x: int

@handler("{kind}")
def perform(task: TaskContext) -> Out:
    return Out(1)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages that are installed for the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def install(site: Path, name: str, module: str, code: str, value: str | None = None) -> None:
    (site / f"{module}.py").write_text(code)
    info = site / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[taskql.handlers]\njobs = {value or module}\n")


def test_installed_packages_add_their_kinds(site: Path) -> None:
    install(site, "acme-jobs", "acme_jobs", HANDLER.format(kind="acme"))
    install(site, "other-jobs", "other_jobs", HANDLER.format(kind="other"))
    assert set(load_registry()) == {*SHIPPED, "acme", "other"}


def test_a_module_that_is_named_both_ways_counts_once(site: Path) -> None:
    install(site, "acme-jobs", "acme_jobs", HANDLER.format(kind="acme"))
    assert list(load_registry(["acme_jobs", "acme_jobs"])) == [*SHIPPED, "acme"]


@pytest.mark.parametrize("code", ["1 / 0", "raise SystemExit('no')", "import no_such_package"])
def test_a_package_whose_module_fails_is_refused_by_name_with_the_cause(site: Path, code: str) -> None:
    install(site, "acme-jobs", "broken_jobs", code)
    with pytest.raises(HandlerRefused) as refused:
        load_registry()
    message = str(refused.value)
    assert message.startswith("the handler module 'broken_jobs' (the entry point 'jobs' of acme-jobs 1.2)")
    assert "broken_jobs.py, line 1). Mend acme-jobs 1.2, or uninstall it." in message


def test_a_package_whose_module_is_not_there_is_refused(site: Path) -> None:
    install(site, "acme-jobs", "acme_jobs", "", value="acme_job")
    with pytest.raises(HandlerRefused, match=r"'acme_job' \(.*acme-jobs 1\.2\) can't .*No module named"):
        load_registry()


@pytest.mark.parametrize("value", ["acme_jobs:perform", "acme-jobs", "acme_jobs [extra]"])
def test_an_entry_point_that_names_no_module_is_refused(site: Path, value: str) -> None:
    install(site, "acme-jobs", "acme_jobs", HANDLER.format(kind="acme"), value)
    with pytest.raises(HandlerRefused, match=r"'jobs' of acme-jobs 1\.2 is .*; name a module"):
        load_registry()


def test_two_packages_of_one_kind_are_refused(site: Path) -> None:
    install(site, "acme-jobs", "acme_jobs", HANDLER.format(kind="same"))
    install(site, "other-jobs", "other_jobs", HANDLER.format(kind="same"))
    with pytest.raises(HandlerRefused, match=r"acme_jobs\.perform and other_jobs\.perform"):
        load_registry()
