"""`make bench` runs and writes its page. No part of `make test`: `pytest -n0 bench/test_trial.py`."""

import subprocess
import sys
from pathlib import Path

from tests.deployment import ROOT

TRIAL = ("--only", "ours", "--parts", "create,e2e", "--repeats", "1", "--seconds", "0.3", "--quiet", "0")
LIMIT_SECONDS = 300
"""Matters only on failure: it takes ten on a machine that does nothing else."""


def test_a_trial_writes_the_page(tmp_path: Path) -> None:
    written = tmp_path / "results.md"
    command = [sys.executable, "-m", "bench", *TRIAL, "--output", str(written)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    page = written.read_text()
    assert "failed" not in page
    assert "| createTask (queues: enqueue), /s | " in page
    assert "| end to end, tasks/s | " in page
    assert "## CPU time for one operation" in page
