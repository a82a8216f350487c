"""A deployment's own schema for its front ends: printed, made into types, compiled with a client of it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deployment import ROOT
from tests.documents import blocks
from web.build import node_environment

EXAMPLES = ROOT / "examples"
ACME = EXAMPLES / "acme"
MISTAKES = {
    "a kind's input without what it requires": ("fetch: { url: '", "fetch: { uri: '"),
    "a field's value of another type": ("maxBytes: 1000", "maxBytes: '1000'"),
    "a choice that is none": ("separator: 'SEMICOLON'", "separator: 'PIPE'"),
    "a kind that is not there": ("work: { summarise:", "work: { summarize:"),
    "a field of another kind's result": ("task.result.kind", "task.result.rows"),
    "a result's field that may be null": ("numbers?.mean", "numbers.mean"),
    "a result that is none": ("case 'FetchResult'", "case 'FetchedResult'"),
    "a field that the failure does not have": ("failureDetail.status", "failureDetail.line"),
}


[PRINT] = [block.text for block in blocks("docs/handlers.md") if "taskql schema" in block.text]


@pytest.fixture(scope="module")
def sdl() -> str:
    """What the command of docs/handlers.md prints."""
    command, _, _ = PRINT.replace(".venv/bin/python", sys.executable).partition(" > ")
    return printed(["sh", "-c", command])


def printed(command: list[str], **env: str) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def client(sdl: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of Acme's client with the types of that schema."""
    folder = tmp_path_factory.mktemp("client")
    shutil.copytree(ACME / "client" / "src", folder / "src", ignore=shutil.ignore_patterns("generated"))
    shutil.copy(ACME / "client" / "tsconfig.json", folder)
    (folder / "node_modules").symlink_to(EXAMPLES / "node_modules")
    (folder / "schema.graphql").write_text(sdl)
    done = node(folder, str(EXAMPLES / "generate-types.js"), "string", "schema.graphql")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def node(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["node", *arguments],
        cwd=folder,
        env=node_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def compiled(folder: Path) -> str:
    """What the compiler complains of."""
    return node(folder, str(EXAMPLES / "node_modules" / "typescript" / "bin" / "tsc"), "--noEmit").stdout


def test_a_deployment_prints_its_own_schema(sdl: str) -> None:
    assert "  fetch: FetchInput" in sdl
    assert "Only these; all of them unless given" in sdl
    assert "type FetchResult" in sdl
    assert "union TaskFailureDetail" in sdl


def test_an_installed_package_needs_no_setting(sdl: str, tmp_path: Path) -> None:
    info = tmp_path / "acme_jobs-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-jobs\nVersion: 1.0.0\n")
    (info / "entry_points.txt").write_text("[taskql.handlers]\njobs = acme.jobs\n")
    path = f"{tmp_path}{os.pathsep}{ACME}"
    assert printed([sys.executable, "-m", "taskql", "schema"], PYTHONPATH=path, TASK_HANDLERS="") == sdl


def test_its_client_compiles(client: Path) -> None:
    assert compiled(client) == ""


def test_each_mistake_of_a_client_is_found_by_the_compiler(client: Path) -> None:
    right = (client / "src" / "main.ts").read_text()
    for number, (correct, wrong) in enumerate(MISTAKES.values()):
        assert right.count(correct) == 1
        (client / "src" / f"wrong{number}.ts").write_text(right.replace(correct, wrong))
    complaints = compiled(client)
    for number, mistake in enumerate(MISTAKES):
        assert f"src/wrong{number}.ts" in complaints, f"{mistake} was not found in:\n{complaints}"
    assert "src/main.ts" not in complaints
