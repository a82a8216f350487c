"""examples/acme, a package of an outside author: its own tests, run in its own folder as its author does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from taskql.testing.system import NotStarted, System
from tests.deployment import ROOT


def test_acme_s_own_tests_pass() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=ROOT / "examples" / "acme",
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_system_that_cannot_start_says_all_that_it_said(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match=r"(?s)PostgreSQL.*the handler module 'nowhere' can't be imported"):
        System(["nowhere"], tmp_path).__enter__()
