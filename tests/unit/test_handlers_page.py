"""docs/handlers.md, held against the code: its examples run, its tables say what is so."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from graphql import GraphQLSchema, build_schema, parse, print_type, validate

from gql.schema import print_sdl
from taskql.errors import HandlerRefused
from taskql.registry import (
    ENTRY_POINTS,
    Registry,
    handlers_in,
    import_module,
    import_offered,
    lifespans_in,
    load_registry,
)
from tests.deployment import ROOT
from tests.documents import blocks
from tests.unit.refused_handlers import PRELUDE, SAMPLES
from tests.unit.stub_api import StubApi

PAGE = "docs/handlers.md"
BLOCKS = blocks(PAGE)
FILE = re.compile(r"# (\w+\.py)\n")
ROW = re.compile(r"^\| (.+) \|$", re.MULTILINE)
CELL = re.compile(r" \| ?")
WHOSE = re.compile(r"^\S+ \(kind '\S+'\): ")
DOCSTRING = re.compile(r'^ *""".*?"""\n', re.MULTILINE | re.DOTALL)

REFUSING = {"HandlerRefused", "Inexpressible", "ValueError", "refuse", "refused"}
SOURCES = ["taskql/registry.py", "taskql/handler.py", "taskql/lifespan.py", "taskql/failures.py"]
SOURCE_FOLDERS = ["taskql/shapes", "gql/models"]
AT_RUN_TIME = {"detail_of"}
"""Functions that refuse what a handler does, and not what its author wrote."""

PYTEST_INI = f"""[pytest]
pythonpath = . {ROOT}
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files."""
    folder = tmp_path_factory.mktemp("shop")
    for name in ("shop.py", "test_shop.py"):
        parts = [block.text for block in BLOCKS if block.language == "python" and f"# {name}\n" in block.text]
        (folder / name).write_text("\n\n".join(parts))
    (folder / "pytest.ini").write_text(PYTEST_INI)
    return folder


@pytest.fixture(scope="module")
def schema(shop: Path) -> GraphQLSchema:
    with module((shop / "shop.py").read_text(), "shop") as made:
        return build_schema(print_sdl(Registry(handlers_in(made))))


class module:
    """A module of its own from a text, for as long as it is used: annotations are looked up in it."""

    def __init__(self, code: str, name: str = "jobs") -> None:
        self._code = code
        self._module = ModuleType(name)

    def __enter__(self) -> ModuleType:
        sys.modules[self._module.__name__] = self._module
        try:
            exec(self._code, self._module.__dict__)
        except BaseException:
            self.__exit__()
            raise
        return self._module

    def __exit__(self, *_: object) -> None:
        del sys.modules[self._module.__name__]


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    _, _, below = (ROOT / PAGE).read_text().partition(f"\n## {heading}\n")
    text, _, _ = below.partition("\n## ")
    table, _, _ = text[text.index("\n| ") :].lstrip().partition("\n\n")
    return [CELL.split(row) for row in ROW.findall(table)[1:] if not row.startswith("---")]


def test_every_block_is_tried_below() -> None:
    assert {block.language for block in BLOCKS} == {"python", "graphql", "sh", "toml"}
    assert {FILE.match(block.text)[1] for block in BLOCKS if block.language == "python"} == {  # type: ignore[index]
        "shop.py",
        "test_shop.py",
    }


def test_the_page_s_own_tests_pass(shop: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=shop,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_the_types_are_those_that_clients_have(schema: GraphQLSchema) -> None:
    [types] = [block.text for block in BLOCKS if block.text.startswith("input ")]
    for shown in types.strip().split("\n\n"):
        type_ = schema.type_map[shown.split()[1]]
        assert DOCSTRING.sub("", print_type(type_)).replace("\n\n", "\n") == shown


async def test_a_mistake_is_named_as_the_page_says(shop: Path) -> None:
    [wrong] = [block.text for block in BLOCKS if block.text.startswith("mutation Wrong")]
    with module((shop / "shop.py").read_text(), "shop") as made:
        payload = (await StubApi(Registry(handlers_in(made))).data(wrong))["createTask"]
    assert payload["task"] is None
    [error] = payload["userErrors"]
    text = (ROOT / PAGE).read_text()
    assert f"`field: {json.dumps(error['field'])}` with `{error['message']}`" in text


def test_the_operations_are_those_of_the_schema(schema: GraphQLSchema) -> None:
    operations = [b.text for b in BLOCKS if b.language == "graphql" and not b.text.startswith("input ")]
    assert len(operations) == 2
    for operation in operations:
        assert validate(schema, parse(operation)) == []


def test_the_entry_point_is_what_acme_has() -> None:
    [shown] = [tomllib.loads(block.text) for block in BLOCKS if block.language == "toml"]
    acme = tomllib.loads((ROOT / "examples" / "acme" / "pyproject.toml").read_text())
    assert shown["project"]["entry-points"] == acme["project"]["entry-points"]
    assert list(shown["project"]["entry-points"]) == [ENTRY_POINTS]


def test_the_commands_exist() -> None:
    for command in (block.text for block in BLOCKS if block.language == "sh"):
        name = re.search(r"-m taskql ([\w-]+)", command)[1]  # type: ignore[index]
        run = [sys.executable, "-m", "taskql", name, "--help"]
        assert subprocess.run(run, cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_each_annotation_looks_in_graphql_as_the_table_says() -> None:
    fields = [(python.strip("`"), graphql.strip("`")) for python, graphql, *_ in rows("Models")]
    code = [
        "from datetime import date, datetime, time",
        "from typing import Annotated, Any, Literal, Optional",
        "from uuid import UUID",
        "from pydantic import AnyUrl",
        "from taskql import BigInt",
        *(block.text for block in BLOCKS if block.text.startswith("# shop.py")),
        "class Fields(BaseModel):",
        *(f"    field{number}: {python}" for number, (python, _) in enumerate(fields)),
        "@handler('fields')\ndef fields(task: TaskContext) -> list[Fields]: ...",
        "@handler('given')\ndef given(work: Fields, task: TaskContext) -> None: ...",
    ]
    with module("\n".join(code)) as made:
        schema: Any = build_schema(print_sdl(Registry(handlers_in(made))))
    shown, given = schema.type_map["Fields"].fields, schema.type_map["GivenInput"].fields
    for number, (_, graphql) in enumerate(fields):
        name = f"field{number}"
        assert str(shown[name].type) == graphql.replace("FieldsField", f"FieldsField{number}")
        expected = graphql.replace("FieldsField", f"GivenInputField{number}").replace("Line", "LineInput")
        assert str(given[name].type) == expected


# ---------------------------------------------------------------- refusals


def refusal(sample: str) -> str:
    with pytest.raises(HandlerRefused) as refused, module(PRELUDE + sample) as made:
        print_sdl(Registry(handlers_in(made), lifespans_in(made)))
    return str(refused.value)


def of_modules() -> Iterator[str]:
    """What is refused before there is a function."""
    for value in ("nowhere", "acme.jobs:fetch"):
        with pytest.raises(HandlerRefused) as refused:
            import_offered(EntryPoint("jobs", value, ENTRY_POINTS))
        yield str(refused.value)
    with pytest.raises(HandlerRefused) as refused:
        import_module("nowhere")
    yield str(refused.value)
    with pytest.raises(HandlerRefused) as refused:
        load_registry(["json"])
    yield str(refused.value)


@pytest.fixture(scope="module")
def refusals() -> list[str]:
    return [*map(refusal, SAMPLES), *of_modules()]


def pattern(row: str) -> re.Pattern[str]:
    """What a row of the table says, with any text in place of its …"""
    return re.compile(".+".join(map(re.escape, row.split("…"))), re.DOTALL)


PATTERNS = {row[0]: pattern(row[0]) for row in rows("Refusals")}


def test_each_refusal_is_a_row_of_the_table(refusals: list[str]) -> None:
    messages = [WHOSE.sub("", message) for message in refusals]
    unknown = [m for m in messages if not any(each.fullmatch(m) for each in PATTERNS.values())]
    assert not unknown, "\n".join(unknown)


def test_each_row_of_the_table_is_a_refusal(refusals: list[str]) -> None:
    messages = [WHOSE.sub("", message) for message in refusals]
    unseen = [row for row, each in PATTERNS.items() if not any(map(each.fullmatch, messages))]
    assert not unseen, "\n".join(unseen)


def test_no_refusal_is_left_out(refusals: list[str]) -> None:
    """Each text with which the code refuses is among the messages seen."""
    seen = "\n".join(refusals)
    unseen = [f"{place}: {text}" for place, text in refusing_texts() if text not in seen]
    assert not unseen, "\n".join(unseen)


def refusing_texts() -> Iterator[tuple[str, str]]:
    """The longest fixed part of each message that the code refuses with, and where it is."""
    folders = [path for folder in SOURCE_FOLDERS for path in sorted((ROOT / folder).glob("*.py"))]
    for path in [*(ROOT / source for source in SOURCES), *folders]:
        for call in calls(ast.parse(path.read_text())):
            if call.args and (text := max(fixed_parts(call.args[0]), key=len, default="").strip(" .:,;")):
                yield f"{path.relative_to(ROOT)}, line {call.lineno}", text


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Where a refusal is made, at boot."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef) and node.name in AT_RUN_TIME:
            continue
        name = getattr(node, "func", None)
        if isinstance(node, ast.Call) and getattr(name, "id", getattr(name, "attr", "")) in REFUSING:
            yield node
        yield from calls(node)


def fixed_parts(text: ast.expr) -> Iterator[str]:
    for node in ast.walk(text):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
