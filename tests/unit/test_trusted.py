"""Trusted documents: only these run, by text or by id, over every transport; a bad one refuses the start."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gql.limits import Limits
from gql.schema import build_schema
from gql.trusted import read_folder
from taskql.errors import StartupError
from taskql.registry import load_registry
from tests.unit.endpoint import GRAPHQL, Endpoint, code
from tests.unit.peer import socket, stream
from tests.unit.stage import staged, until
from tests.unit.stub_api import TASK_ID

KINDS = "query Kinds {\n  kinds { name }\n}\n"
CREATE = 'mutation Create { createTask(input: {title: "a"}) { created } }'
WATCH = f'subscription {{ taskStatus(id: "{TASK_ID}") {{ id }} }}'
TEXTS = {"kinds": KINDS, "tasks/create": CREATE, "watch": WATCH}
HASH = sha256(KINDS.encode()).hexdigest()
STRANGE = "{kinds {maxAttempts}}"


@pytest.fixture(scope="module")
def endpoint() -> Endpoint:
    return Endpoint(trusted=TEXTS)


@pytest.mark.parametrize(
    "fields",
    [
        {"query": KINDS},
        {"query": "query Kinds{kinds{name}}"},
        {"query": "\n# which there are\nquery Kinds { , kinds { name } }"},
        {"query": HASH},
        {"documentId": HASH},
        {"documentId": f"sha256:{HASH}"},
        {"documentId": sha256(KINDS.strip().encode()).hexdigest()},
        {"documentId": "kinds"},
        {"documentId": "kinds", "operationName": "Kinds"},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": HASH}}},
        {"query": KINDS, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "another"}}},
    ],
)
async def test_a_trusted_document_runs_by_its_text_and_by_its_ids(
    endpoint: Endpoint, fields: dict[str, Any]
) -> None:
    answer = await endpoint.send(json=fields)
    assert answer.json()["data"]["kinds"]
    async with socket(endpoint.app) as peer:
        peer.say(id="1", type="subscribe", payload=fields)
        assert (await peer.answer_to("1"))["data"]["kinds"]


@pytest.mark.parametrize(
    "fields",
    [
        {"query": STRANGE},
        {"query": STRANGE, "operationName": "Kinds"},
        {"query": STRANGE, "documentId": "kinds"},
        {"query": KINDS + STRANGE},
        {"query": "{__typename}"},
        {"query": "{"},
        {"documentId": "0" * 64},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}},
        {"query": CREATE.replace('"a"', '"b"')},
    ],
)
async def test_no_other_document_runs(endpoint: Endpoint, fields: dict[str, Any]) -> None:
    answer = await endpoint.send(json=fields, headers={"Accept": GRAPHQL})
    assert (answer.status_code, code(answer)) == (403, "FORBIDDEN")
    assert "trusted documents" in answer.json()["errors"][0]["message"]
    async with socket(endpoint.app) as peer:
        peer.say(id="1", type="subscribe", payload=fields)
        [error] = await peer.answer_to("1")
        assert error["extensions"]["code"] == "FORBIDDEN"
    assert endpoint.api.store.created == []


async def test_subscriptions_are_trusted_too() -> None:
    async with staged() as stage:
        app = Endpoint(hub=stage.hub, trusted=TEXTS).app
        for query, problem in ((WATCH, b"NOT_FOUND"), (WATCH.replace("id }", "title }"), b"FORBIDDEN")):
            async with stream(app, query) as peer:
                await until(lambda peer=peer: len(peer.received) > 1)  # type: ignore[misc]
                assert problem in peer.received[1]["body"]


async def test_a_mutation_needs_post_by_its_id_as_well(endpoint: Endpoint) -> None:
    answer = await endpoint.send("GET", params={"documentId": "tasks/create"})
    assert answer.status_code == 405
    assert (await endpoint.send("GET", params={"documentId": "kinds"})).json()["data"]


@pytest.mark.parametrize(
    "fields", [{}, {"documentId": ""}, {"documentId": 5}, {"extensions": {"persistedQuery": 5}}]
)
async def test_neither_text_nor_id_is_no_request(endpoint: Endpoint, fields: dict[str, Any]) -> None:
    answer = await endpoint.send(json=fields)
    assert (answer.status_code, code(answer)) == (400, "BAD_USER_INPUT")


async def test_without_trusted_documents_an_id_stands_for_nothing() -> None:
    answer = await Endpoint().send(json={"documentId": "kinds"})
    assert (answer.status_code, code(answer)) == (400, "BAD_USER_INPUT")
    assert "`query`" in answer.json()["errors"][0]["message"]


def test_a_folder_is_read_with_its_subfolders(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "kinds.graphql").write_text(KINDS)
    (tmp_path / "tasks" / "create.graphql").write_text(CREATE)
    (tmp_path / "notes.txt").write_text("nothing")
    assert read_folder(tmp_path) == {"kinds": KINDS, "tasks/create": CREATE}


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_folder_without_readable_documents_refuses_the_start(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.graphql").write_bytes(content)
    with pytest.raises(StartupError, match=r"^TASKQL_TRUSTED_DOCUMENTS: "):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "line 1: Syntax Error"),
        ("\n{nothing}", "line 2: Cannot query field 'nothing'"),
        ("{" * 20 + "}" * 20, "Syntax Error"),
        ("{kinds {name: " + " b: ".join(["name"] * 60) + "}}", "aliases"),
    ],
)
def test_a_document_that_can_not_run_refuses_the_start_and_is_named(text: str, problem: str) -> None:
    with pytest.raises(StartupError) as refused:
        build_schema(load_registry(), Limits(), {"good": KINDS, "bad/one": text})
    assert str(refused.value).startswith("TASKQL_TRUSTED_DOCUMENTS: bad/one.graphql, line ")
    assert problem in str(refused.value)
